"""Jobs of another kind than condensing, and the verifications that they make."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006_verifications"
down_revision = "0005_queue_index"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        # The default stays for the version before this one, which knows one kind only.
        column = sa.Column("kind", sa.String(16), nullable=False, server_default="condense")
        table.add_column(column)
    op.create_table(
        "verifications",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("condensed_id", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("repeats", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(32), nullable=True),
        sa.Column("record", JSON, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["condensed_id"], ["condensed.id"], name=op.f("fk_verifications_condensed_id_condensed")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_verifications_job_id_jobs")),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_verifications_tenant_id_tenants")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verifications")),
        sa.UniqueConstraint("job_id", name=op.f("uq_verifications_job_id")),
    )
    for column in ("condensed_id", "tenant_id"):
        op.create_index(op.f(f"ix_verifications_{column}"), "verifications", [column])


def downgrade() -> None:
    """Verifications are lost, and jobs that were to make them are gone with them."""
    op.drop_table("verifications")
    verifying = "(SELECT id FROM jobs WHERE kind = 'verify')"
    for table in ("job_events", "attempts", "outbox", "webhook_deliveries"):
        op.execute(f"DELETE FROM {table} WHERE job_id IN {verifying}")  # noqa: S608 - no input
    op.execute("DELETE FROM jobs WHERE kind = 'verify'")
    with op.batch_alter_table("jobs") as table:
        table.drop_column("kind")
