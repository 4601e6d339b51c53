"""Webhook endpoints and deliveries as they are shown."""

from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field

from app.models import WebhookDelivery, WebhookEndpoint
from dcpi_core.spec.base import Record

EventType = Literal[
    "job.running",
    "job.paused",
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "job.crashed",
    "job.expired",
]


def _plain_url(url: str) -> str:
    parts = urlsplit(url)  # raises ValueError itself where the host or the port is none
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("must be an address such as https://example.org/hook")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no user name or password")
    if parts.fragment or not url.isascii() or any(ord(letter) <= 32 for letter in url):
        raise ValueError("must hold neither a fragment nor spaces nor letters outside of ASCII")
    try:
        parts.hostname.encode("idna")  # as it is looked up
    except UnicodeError:
        raise ValueError("must name a host whose labels have 1 to 63 letters each") from None
    return url


class EndpointCreate(Record):
    """Where to send events, and which."""

    url: Annotated[str, Field(max_length=2000), AfterValidator(_plain_url)]
    events: tuple[EventType, ...] = Field((), max_length=16, description="empty: all of them")


class EndpointRead(BaseModel):
    """An endpoint; its secret is shown when it is made, and never again."""

    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    id: str
    url: str
    events: list[EventType]
    enabled: bool = Field(description="false once the endpoint has answered 410")
    created_at: datetime


class EndpointSecret(EndpointRead):
    """An endpoint with the secret that signs its messages."""

    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])


class DeliveryRead(BaseModel):
    """A message to an endpoint, and how far it came."""

    object: Literal["webhook_delivery"] = "webhook_delivery"
    id: str = Field(description="the webhook-id header of every try")
    type: EventType
    job_id: str
    status: Literal["waiting", "delivered", "failed"]
    tries: int
    next_at: datetime | None
    delivered_at: datetime | None
    last_status: int | None = Field(description="HTTP status of the last answer")
    last_error: str | None
    payload: dict[str, Any]
    created_at: datetime


def read_endpoint(row: WebhookEndpoint) -> EndpointRead:
    """A row as it is shown."""
    return EndpointRead.model_validate(row, from_attributes=True)


def read_secret(row: WebhookEndpoint) -> EndpointSecret:
    """A row as its owner sees it once."""
    return EndpointSecret.model_validate(row, from_attributes=True)


def read_delivery(row: WebhookDelivery) -> DeliveryRead:
    """A row as it is shown."""
    status = "waiting" if row.next_at else "delivered" if row.delivered_at else "failed"
    shown = {name: getattr(row, name, None) for name in DeliveryRead.model_fields}
    return DeliveryRead.model_validate(shown | {"object": "webhook_delivery", "status": status})
