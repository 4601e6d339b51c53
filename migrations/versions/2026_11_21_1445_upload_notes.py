"""Uploads are noted before they begin, so that what a dead worker left can be deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0004_upload_notes"
down_revision = "0003_lifecycle"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("erasures") as table:
        table.add_column(sa.Column("lease_token", sa.String(40), nullable=True))
    op.create_index(op.f("ix_jobs_lease_token"), "jobs", ["lease_token"])


def downgrade() -> None:
    op.drop_index(op.f("ix_jobs_lease_token"), "jobs")
    with op.batch_alter_table("erasures") as table:
        table.drop_column("lease_token")
