"""The outbox: messages written with what they are about, sent afterwards, at least once.

A crash between commit and sending loses nothing, and a broker that lost its memory is told again:
a job that nobody has claimed for a while is rung for once more.
"""

from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.kit.clock import now
from app.kit.db import SessionFactory, unit_of_work
from app.models import Job, OutboxMessage

Publish = Callable[[str, str], None]
"""Sends (job id, queue) to the broker; raises if it cannot."""

BATCH = 100


def ring(session: Session, job_id: str, queue: str) -> None:
    """Have workers called for this job once the transaction is committed."""
    session.add(OutboxMessage(job_id=job_id, queue=queue, created_at=now()))


def relay(sessions: SessionFactory, publish: Publish) -> int:
    """Send what is waiting; returns how many messages the broker took."""
    with unit_of_work(sessions) as session:
        waiting = select(OutboxMessage).order_by(OutboxMessage.id).limit(BATCH)
        messages = session.scalars(waiting.with_for_update(skip_locked=True)).all()
        for message in messages:
            publish(message.job_id, message.queue)
            session.delete(message)
        return len(messages)


def ring_again(sessions: SessionFactory, queue: str, after_seconds: float) -> int:
    """Ring for jobs that have been queued for so long that the broker must have forgotten them."""
    with unit_of_work(sessions) as session:
        moment = now()
        quiet = moment - timedelta(seconds=after_seconds)
        overdue = select(Job.id).where(Job.status == "queued", Job.queued_at < quiet)
        jobs = session.scalars(overdue.limit(BATCH)).all()
        for job_id in jobs:
            ring(session, job_id, queue)
        session.execute(update(Job).where(Job.id.in_(jobs)).values(queued_at=moment))
        return len(jobs)
