"""``top1`` of every condensed dataset is the accuracy of what is shipped.

Where a report had controls, it was that of the last of them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011_top1_of_what_is_shipped"
down_revision = "0010_answers_by_object"
branch_labels = None
depends_on = None

condensed = sa.table("condensed", sa.column("top1", sa.Float), sa.column("headline", sa.JSON))


def upgrade() -> None:
    with_labels, images_alone = (
        condensed.c.headline[(arm, "mean")].as_float() for arm in ("privileged", "base")
    )
    shipped = sa.func.coalesce(with_labels, images_alone, condensed.c.top1)
    op.execute(condensed.update().values(top1=shipped))


def downgrade() -> None:
    """What was wrong is not made so again."""
