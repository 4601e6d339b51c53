"""Webhooks: where events are sent to, and each message that is or was on its way."""

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Json, UtcTime
from app.models.tenant import Owned


class WebhookEndpoint(Owned, Base):
    """An address of a tenant.

    ``events`` are the types it wants, none meaning all. The ``previous_secret`` signs as well until
    ``previous_until``, so that a receiver can change over.
    """

    __tablename__ = "webhook_endpoints"
    __table_args__ = (Index(None, "tenant_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    url: Mapped[str] = mapped_column(String(2000))
    events: Mapped[list[str]] = mapped_column(Json)
    secret: Mapped[str] = mapped_column(String(200))
    previous_secret: Mapped[str | None] = mapped_column(String(200))
    previous_until: Mapped[datetime | None] = mapped_column(UtcTime)
    enabled: Mapped[bool] = mapped_column(Boolean, default=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime)


class WebhookDelivery(Base):
    """One message to one endpoint; its id is the ``webhook-id`` of every try.

    While ``next_at`` is set it is still to be delivered, at that time; a courier that takes it puts
    the time off, so that nobody else sends it meanwhile.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index(None, "next_at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id"), index=True)
    job_id: Mapped[str] = mapped_column(String(40), index=True)
    type: Mapped[str] = mapped_column(String(40))
    payload: Mapped[dict[str, Any]] = mapped_column(Json)
    tries: Mapped[int] = mapped_column(Integer, default=0)
    next_at: Mapped[datetime | None] = mapped_column(UtcTime)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcTime)
    last_status: Mapped[int | None] = mapped_column(Integer)
    last_error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
