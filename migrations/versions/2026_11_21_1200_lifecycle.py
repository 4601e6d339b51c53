"""Life of jobs: queue and deadline of each."""

import sqlalchemy as sa
from alembic import op

revision = "0002_lifecycle"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        # Until now every job was on the queue of the settings, whose default this is.
        table.add_column(sa.Column("queue", sa.String(64), nullable=False, server_default="gpu"))
        table.add_column(sa.Column("deadline_seconds", sa.Integer(), nullable=True))
        table.add_column(sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        table.drop_column("deadline_at")
        table.drop_column("deadline_seconds")
        table.drop_column("queue")
