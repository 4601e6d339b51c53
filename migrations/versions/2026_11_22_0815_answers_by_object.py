"""Answers kept for repeated requests are found by what they created: a column with an index.

To delete a job read all of them. The version before this one writes none into the new column.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010_answers_by_object"
down_revision = "0009_owner_is_named"
branch_labels = None
depends_on = None

TABLE = "idempotency_keys"
INDEX = "ix_idempotency_keys_object_id"
keys = sa.table(TABLE, sa.column("object_id", sa.String), sa.column("answer", sa.JSON))


def upgrade() -> None:
    with op.batch_alter_table(TABLE) as table:
        table.add_column(sa.Column("object_id", sa.String(40), nullable=True))
    op.execute(keys.update().values(object_id=keys.c.answer["id"].as_string()))
    op.create_index(op.f(INDEX), TABLE, ["object_id"])


def downgrade() -> None:
    op.drop_index(op.f(INDEX), TABLE)
    with op.batch_alter_table(TABLE) as table:
        table.drop_column("object_id")
