"""Queries about webhook endpoints and their deliveries."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.kit.pages import PageQuery
from app.models import WebhookDelivery, WebhookEndpoint
from dcpi_core.spec.errors import NotFound


def get(session: Session, endpoint_id: str, *, lock: bool = False) -> WebhookEndpoint:
    """The endpoint with this id, its row locked if wanted; raises NotFound.

    Who locks messages to it as well locks the endpoint first.
    """
    row = session.get(WebhookEndpoint, endpoint_id, with_for_update=lock)
    if row is None:
        raise NotFound(f"no webhook endpoint {endpoint_id!r}")
    return row


def find(session: Session, page: PageQuery) -> list[WebhookEndpoint]:
    """All endpoints, one more than the page holds."""
    return list(session.scalars(page.select(select(WebhookEndpoint), WebhookEndpoint.id)))


def deliveries(session: Session, endpoint_id: str, page: PageQuery) -> list[WebhookDelivery]:
    """Messages to the endpoint, one more than the page holds."""
    own = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id)
    return list(session.scalars(page.select(own, WebhookDelivery.id)))


def delivery(session: Session, endpoint_id: str, delivery_id: str) -> WebhookDelivery:
    """One message to the endpoint; raises NotFound."""
    row = session.get(WebhookDelivery, delivery_id, with_for_update=True)
    if row is None or row.endpoint_id != endpoint_id:
        raise NotFound(f"no delivery {delivery_id!r} of webhook endpoint {endpoint_id!r}")
    return row


def delete_endpoint(session: Session, row: WebhookEndpoint) -> None:
    """Delete an endpoint, which is locked, with all that was or is on its way to it."""
    session.execute(delete(WebhookDelivery).where(WebhookDelivery.endpoint_id == row.id))
    session.delete(row)


def delete_settled(session: Session, before: datetime) -> int:
    """Delete messages from before this moment that are no longer on their way."""
    settled = (WebhookDelivery.next_at.is_(None), WebhookDelivery.created_at < before)
    gone = delete(WebhookDelivery).where(*settled).returning(WebhookDelivery.id)
    return len(session.scalars(gone).all())
