"""Messages to endpoints: written in the transaction of what they tell, sent until they arrive."""

import json
import random
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.kit.clock import now
from app.kit.db import KEPT
from app.kit.ids import new_id
from app.models import Job, WebhookDelivery, WebhookEndpoint

TOLD = {
    status: f"job.{status}"
    for status in ("running", "paused", "succeeded", "failed", "cancelled", "crashed", "expired")
}
"""Event types by the state that a job came to. That it is queued its submitter knows."""

MINUTE, HOUR = 60.0, 3600.0
PAUSES = (
    5.0,
    5 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
)
"""Seconds after each try that failed, as the specification proposes; ten tries in three days."""
JITTER = 0.1
GONE = 410
"""The receiver wants nothing more: its endpoint is disabled."""
TAKEN_SECONDS = 60.0


class Waiting(NamedTuple):
    """A message whose time has come, and whose it is."""

    id: str
    endpoint_id: str
    tenant_id: str


@dataclass(frozen=True)
class Parcel:
    """A message that was taken to be sent: everything that is needed without the database."""

    id: str
    endpoint_id: str
    tenant_id: str
    url: str
    secrets: tuple[str, ...]
    body: bytes


def announce(session: Session, job_id: str, status: str) -> None:
    """Tell the endpoints of the job's tenant that it came to this state."""
    kind = TOLD.get(status)
    if kind is None:
        return
    columns = select(Job.tenant_id, Job.kind, Job.condensed_id).where(Job.id == job_id)
    job = session.execute(columns).one()
    wanting = select(WebhookEndpoint).where(
        WebhookEndpoint.tenant_id == job.tenant_id, WebhookEndpoint.enabled
    )
    moment = now()
    data = {
        "job_id": job_id,
        "kind": job.kind,
        "status": status,
        "condensed_id": job.condensed_id,
    }
    payload = {"type": kind, "timestamp": moment.isoformat(), "data": data}
    for endpoint in session.scalars(wanting.with_for_update(**KEPT)):
        if not endpoint.events or kind in endpoint.events:
            _put(session, endpoint, job_id, payload)


def _put(session: Session, endpoint: WebhookEndpoint, job_id: str, payload: dict[str, Any]) -> None:
    session.add(
        WebhookDelivery(
            id=new_id("msg"),
            endpoint_id=endpoint.id,
            job_id=job_id,
            type=payload["type"],
            payload=payload,
            next_at=now(),
            created_at=now(),
        )
    )


def due(per_endpoint: int) -> Any:
    """Statement for the messages whose time has come, of each endpoint the first so many."""
    own = func.row_number().over(
        partition_by=WebhookDelivery.endpoint_id, order_by=WebhookDelivery.next_at
    )
    columns = (WebhookDelivery.id, WebhookDelivery.endpoint_id, WebhookDelivery.next_at)
    turn = select(*columns, own.label("turn")).where(WebhookDelivery.next_at <= now()).subquery()
    whose = select(turn.c.id, turn.c.endpoint_id, WebhookEndpoint.tenant_id)
    joined = whose.join(WebhookEndpoint, WebhookEndpoint.id == turn.c.endpoint_id)
    return joined.where(turn.c.turn <= per_endpoint).order_by(turn.c.next_at)


def waiting(session: Session, per_endpoint: int) -> list[Waiting]:
    """What ``due`` finds, the oldest first."""
    return [Waiting(*found) for found in session.execute(due(per_endpoint))]


def take(session: Session, chosen: Collection[str]) -> list[Parcel]:
    """Those of the messages that nobody has taken yet; nobody else gets them for a minute."""
    own = (WebhookDelivery.id.in_(chosen), WebhookDelivery.next_at <= now())
    found = select(WebhookDelivery).where(*own).order_by(WebhookDelivery.next_at)
    parcels = []
    for delivery in session.scalars(found.with_for_update(skip_locked=True)).all():
        delivery.next_at = now() + timedelta(seconds=TAKEN_SECONDS)
        endpoint = session.get_one(WebhookEndpoint, delivery.endpoint_id)
        body = json.dumps(delivery.payload, separators=(",", ":")).encode()
        whose = (endpoint.id, endpoint.tenant_id)
        parcels.append(Parcel(delivery.id, *whose, endpoint.url, _secrets(endpoint), body))
    return parcels


def _secrets(endpoint: WebhookEndpoint) -> tuple[str, ...]:
    until = endpoint.previous_until
    if endpoint.previous_secret is None or until is None or until < now():
        return (endpoint.secret,)
    return (endpoint.secret, endpoint.previous_secret)


def settle(session: Session, delivery_id: str, status: int | None, error: str | None) -> None:
    """Note how a try ended: an HTTP status, or None and what went wrong."""
    if status == GONE:
        _disable(session, delivery_id)
    delivery = session.get(WebhookDelivery, delivery_id, with_for_update=True)
    if delivery is None:  # its endpoint was deleted meanwhile
        return
    delivery.tries += 1
    delivery.last_status, delivery.last_error = status, error
    if status is not None and 200 <= status < 300:
        delivery.delivered_at, delivery.next_at = now(), None
    elif status == GONE or delivery.tries > len(PAUSES):
        delivery.next_at = None
    else:
        pause = PAUSES[delivery.tries - 1] * random.uniform(1, 1 + JITTER)  # noqa: S311 - no secret
        delivery.next_at = now() + timedelta(seconds=pause)


def _disable(session: Session, delivery_id: str) -> None:
    """Send nothing more to the endpoint of this message, which is not locked yet.

    The endpoint is locked before messages to it: two of them may be answered at once.
    """
    own = select(WebhookDelivery.endpoint_id).where(WebhookDelivery.id == delivery_id)
    whose = update(WebhookEndpoint).where(WebhookEndpoint.id == own.scalar_subquery())
    endpoint_id = session.scalar(whose.values(enabled=False).returning(WebhookEndpoint.id))
    waiting = update(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id)
    session.execute(waiting.values(next_at=None))
