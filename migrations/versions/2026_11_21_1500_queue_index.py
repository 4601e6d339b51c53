"""An index for places in a queue, which are counted for every answer about a queued job."""

from alembic import op

revision = "0005_queue_index"
down_revision = "0004_upload_notes"
branch_labels = None
depends_on = None

COLUMNS = ["tenant_id", "status", "queue", "priority", "id"]


def upgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        table.create_index(table.f("ix_jobs_" + "_".join(COLUMNS)), COLUMNS)


def downgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        table.drop_index(table.f("ix_jobs_" + "_".join(COLUMNS)))
