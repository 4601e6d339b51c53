"""The outbox: messages written with what they are about, sent afterwards, at least once.

A crash between commit and sending loses nothing. What a broker forgets is told again by
``app.jobs.reminders``.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta

from sqlalchemy import Executable, delete, or_, select, update
from sqlalchemy.orm import Session

from app.kit.broker import Call
from app.kit.clock import now
from app.kit.db import SessionFactory, finds, unit_of_work
from app.kit.rows import insert
from app.models import OutboxMessage

Publish = Callable[[Sequence[Call]], None]
"""Sends messages to the broker; raises if it cannot, and may then have sent some of them."""

BATCH = 100
TAKEN_SECONDS = 60.0
"""For a relay to send a batch; then another one may think that it died."""


def ring(session: Session, job_id: str, queue: str) -> None:
    """Have workers called for this job once the transaction is committed."""
    insert(session, message_for(job_id, queue))


def message_for(job_id: str, queue: str) -> OutboxMessage:
    """What has workers called for this job, to be written with the job itself."""
    return OutboxMessage(job_id=job_id, queue=queue, created_at=now())


def relay(sessions: SessionFactory, publish: Publish) -> int:
    """Send what is waiting; returns how many messages the broker took.

    Messages are taken in one transaction and deleted in another: while the broker is spoken to,
    which may take seconds if it is down, nothing in the database is locked.
    """
    messages = _take(sessions)
    if not messages:
        return 0
    taken = OutboxMessage.id.in_([message.id for message in messages])
    try:
        publish([Call(message.job_id, message.queue) for message in messages])
    except BaseException:
        _execute(sessions, update(OutboxMessage).where(taken).values(taken_until=None))
        raise
    _execute(sessions, delete(OutboxMessage).where(taken))
    return len(messages)


def _take(sessions: SessionFactory) -> list[OutboxMessage]:
    moment = now()
    free = or_(OutboxMessage.taken_until.is_(None), OutboxMessage.taken_until < moment)
    waiting = select(OutboxMessage.id).where(free).order_by(OutboxMessage.id).limit(BATCH)
    if not finds(sessions, waiting):
        return []
    until = moment + timedelta(seconds=TAKEN_SECONDS)
    own = OutboxMessage.id.in_(waiting.with_for_update(skip_locked=True).scalar_subquery())
    taken = update(OutboxMessage).where(own).values(taken_until=until).returning(OutboxMessage)
    with unit_of_work(sessions) as session:
        found = session.scalars(taken, execution_options={"synchronize_session": False})
        return sorted(found, key=lambda message: message.id)


def _execute(sessions: SessionFactory, statement: Executable) -> None:
    with unit_of_work(sessions) as session:
        session.execute(statement)
