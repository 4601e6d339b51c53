"""The history of a job: events with a number, appended in the transaction they report on."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, tuple_, update
from sqlalchemy.orm import Session

from app.kit.clock import now
from app.models import Job, JobEvent
from app.webhooks.outbox import announce

STATUS, PROGRESS, LOG = "status", "progress", "log"


def append_event(session: Session, job_id: str, type_: str, data: dict[str, Any]) -> None:
    """Append an event; its number is one more than the last of this job.

    A change of state is told to webhooks as well.
    """
    number = session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(last_event=Job.last_event + 1)
        .returning(Job.last_event)
    ).scalar_one()
    if type_ == STATUS:
        announce(session, job_id, data["status"])
    session.add(JobEvent(job_id=job_id, seq=number, type=type_, data=data, created_at=now()))


def first_event(job: Job, data: dict[str, Any]) -> JobEvent:
    """The event with number 1 of a new job; neither is written yet."""
    job.last_event = 1
    return JobEvent(job_id=job.id, seq=1, type=STATUS, data=data, created_at=job.created_at)


def events_after(session: Session, job_id: str, seq: int, limit: int) -> list[JobEvent]:
    """Events with a number above ``seq``, in order."""
    statement = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.seq > seq)
    return list(session.scalars(statement.order_by(JobEvent.seq).limit(limit)))


def events_at(session: Session, numbers: Sequence[tuple[str, int]]) -> list[JobEvent]:
    """The events with these job ids and numbers, in the order of their numbers."""
    if not numbers:
        return []
    own = tuple_(JobEvent.job_id, JobEvent.seq).in_(numbers)
    return list(session.scalars(select(JobEvent).where(own).order_by(JobEvent.seq)))
