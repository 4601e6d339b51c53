"""Objects that are to be deleted from the storage."""

from datetime import datetime

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, UtcTime


class Erasure(Base):
    """An object, or with a last ``/`` all objects below it.

    The row goes when the storage has let them go. One with a lease was written before an upload and
    waits while a job is held under that lease.

    Attributes:
        due_at: when it may be carried out, usually from the moment it was written; one that was
            written before the upload of a dataset leaves it time. The column has its older name.
    """

    __tablename__ = "erasures"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    key: Mapped[str] = mapped_column(String(200))
    lease_token: Mapped[str | None] = mapped_column(String(40))
    due_at: Mapped[datetime] = mapped_column("created_at", UtcTime)
