"""Rows without an owner are refused: the default of 0002 was for a version that knew no tenants.

The version before this one names the owner of every row that it writes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009_owner_is_named"
down_revision = "0008_device_time"
branch_labels = None
depends_on = None

DEFAULT = "tnt_default"
OWNED = ("jobs", "datasets", "condensed", "idempotency_keys")


def upgrade() -> None:
    for table in OWNED:
        _set_default(table, None)


def downgrade() -> None:
    for table in OWNED:
        _set_default(table, DEFAULT)


def _set_default(table: str, default: str | None) -> None:
    with op.batch_alter_table(table) as batch:
        batch.alter_column(
            "tenant_id",
            existing_type=sa.String(40),
            existing_nullable=False,
            server_default=default,
        )
