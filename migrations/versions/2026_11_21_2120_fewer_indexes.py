"""Indexes that a submission need not write: of no use, or beginning as another, or of other jobs.

A new job was written into ten indexes of its table, and now is into three. A tenant's jobs are not
looked for by dataset or method except among all of its own; what is asked about jobs that were
claimed, are held or have ended is answered by indexes of those alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007_fewer_indexes"
down_revision = "0006_verifications"
branch_labels = None
depends_on = None

DROPPED = (
    ("jobs", ("tenant_id",)),
    ("jobs", ("dataset",)),
    ("jobs", ("base_method",)),
    ("jobs", ("status", "lease_expires_at")),
    ("datasets", ("tenant_id",)),
    ("idempotency_keys", ("tenant_id",)),
)
NARROWED = {
    ("tenant_id", "claimed_at"): "claimed_at IS NOT NULL",
    ("lease_token",): "lease_token IS NOT NULL",
    ("spec_digest",): "finished_at IS NOT NULL",
}
NEW = {("lease_expires_at",): "lease_expires_at IS NOT NULL"}


def upgrade() -> None:
    for table, columns in DROPPED:
        op.drop_index(_name(table, columns), table)
    for columns in NARROWED:
        op.drop_index(_name("jobs", columns), "jobs")
    for columns, where in (NARROWED | NEW).items():
        rows = sa.text(where)
        name = _name("jobs", columns)
        op.create_index(name, "jobs", columns, postgresql_where=rows, sqlite_where=rows)


def downgrade() -> None:
    for columns in NARROWED | NEW:
        op.drop_index(_name("jobs", columns), "jobs")
    for columns in NARROWED:
        op.create_index(_name("jobs", columns), "jobs", columns)
    for table, columns in DROPPED:
        op.create_index(_name(table, columns), table, columns)


def _name(table: str, columns: tuple[str, ...]) -> str:
    return op.f(f"ix_{table}_{'_'.join(columns)}")
