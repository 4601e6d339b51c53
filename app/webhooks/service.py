"""Rules about webhook endpoints."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from app.kit.clock import now
from app.kit.ids import new_id
from app.kit.pages import PageQuery
from app.models import WebhookDelivery, WebhookEndpoint
from app.settings import Settings
from app.webhooks import repository, signing
from app.webhooks.schemas import EndpointCreate, read_delivery, read_endpoint
from dcpi_core.spec.errors import InvalidInput

CHANGE_OVER = timedelta(hours=24)
"""For how long messages are signed with the previous secret as well."""
KEPT = timedelta(days=30)


def create(session: Session, settings: Settings, body: EndpointCreate) -> WebhookEndpoint:
    """Add an endpoint with a new secret.

    Whether its name leads to an address that may be reached is checked at every connection, not
    here: what a name means may change.

    Raises:
        InvalidInput: the address is not one of https.
    """
    if urlsplit(body.url).scheme != "https" and not settings.webhook_allow_private:
        raise InvalidInput.at("/url", "must begin with https://")
    row = WebhookEndpoint(
        id=new_id("we"),
        url=body.url,
        events=list(body.events),
        secret=signing.new_secret(),
        enabled=True,
        created_at=now(),
    )
    session.add(row)
    session.flush()
    return row


def find(session: Session, page: PageQuery) -> dict[str, Any]:
    """A page of endpoints."""
    return page.page(repository.find(session, page), read_endpoint)


def get(session: Session, endpoint_id: str) -> WebhookEndpoint:
    """One endpoint; raises NotFound."""
    return repository.get(session, endpoint_id)


def rotate(session: Session, endpoint_id: str) -> WebhookEndpoint:
    """Give the endpoint a new secret; for a day the previous one signs as well."""
    row = get(session, endpoint_id)
    row.previous_secret, row.previous_until = row.secret, now() + CHANGE_OVER
    row.secret = signing.new_secret()
    return row


def delete(session: Session, endpoint_id: str) -> None:
    """Delete an endpoint and all messages to it; raises NotFound."""
    repository.delete_endpoint(session, repository.get(session, endpoint_id, lock=True))


def deliveries(session: Session, endpoint_id: str, page: PageQuery) -> dict[str, Any]:
    """A page of the messages to an endpoint; raises NotFound."""
    get(session, endpoint_id)
    return page.page(repository.deliveries(session, endpoint_id, page), read_delivery)


def redeliver(session: Session, endpoint_id: str, delivery_id: str) -> WebhookDelivery:
    """Send a message again, whatever became of it; its tries count anew. Raises NotFound."""
    endpoint = repository.get(session, endpoint_id, lock=True)
    row = repository.delivery(session, endpoint_id, delivery_id)
    endpoint.enabled = True
    row.tries, row.next_at, row.delivered_at = 0, now(), None
    return row


def forget_old(session: Session) -> int:
    """Delete messages that were settled a month ago; returns how many."""
    return repository.delete_settled(session, now() - KEPT)
