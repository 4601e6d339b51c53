"""Device time of tenants by month, which the deletion of jobs does not give back.

Until the workers of the version before this one are replaced, what they end is not counted.
"""

from collections import Counter
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0008_device_time"
down_revision = "0007_fewer_indexes"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
jobs = sa.table("jobs", sa.column("id"), sa.column("tenant_id"))
attempts = sa.table(
    "attempts", sa.column("job_id"), sa.column("started_at", TIME), sa.column("ended_at", TIME)
)


def upgrade() -> None:
    device_time = op.create_table(
        "device_time",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_device_time_tenant_id_tenants")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "month", name=op.f("pk_device_time")),
    )
    begin = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    rows = [
        {"tenant_id": tenant_id, "month": begin.date(), "seconds": seconds}
        for tenant_id, seconds in _spent_since(begin).items()
    ]
    op.bulk_insert(device_time, rows)


def downgrade() -> None:
    op.drop_table("device_time")


def _spent_since(begin: datetime) -> Counter[str]:
    """Seconds by tenant, of the attempts that have ended; those of earlier months ask nobody."""
    ended = sa.select(jobs.c.tenant_id, attempts.c.started_at, attempts.c.ended_at)
    of_jobs = ended.join_from(attempts, jobs, jobs.c.id == attempts.c.job_id)
    spent: Counter[str] = Counter()
    for tenant_id, since, until in op.get_bind().execute(
        of_jobs.where(attempts.c.ended_at > begin)
    ):
        spent[tenant_id] += max(0.0, (_utc(until) - max(_utc(since), begin)).total_seconds())
    return spent


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment  # SQLite forgets it
