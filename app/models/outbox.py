"""Messages to be sent after the commit of what they are about, and answers already given."""

from datetime import datetime
from typing import Any

from sqlalchemy import Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Json, UtcTime
from app.models.tenant import Owned


class OutboxMessage(Base):
    """A job to ring for, on a queue; deleted once the broker has it.

    While ``taken_until`` lies ahead, some relay is about to send it.
    """

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    job_id: Mapped[str] = mapped_column(String(40))
    queue: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    taken_until: Mapped[datetime | None] = mapped_column(UtcTime)


class IdempotencyKey(Owned, Base):
    """The first answer to a request, for whoever repeats it with the same key.

    ``object_id`` is the id of what the answer tells of.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (UniqueConstraint("tenant_id", "operation", "key"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    operation: Mapped[str] = mapped_column(String(64))
    key: Mapped[str] = mapped_column(String(255))
    fingerprint: Mapped[str] = mapped_column(String(64))
    answer: Mapped[dict[str, Any]] = mapped_column(Json)
    object_id: Mapped[str | None] = mapped_column(String(40), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
