"""Queries of the deletion: what hangs on a job, a result or an upload."""

from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from app.jobs.states import TERMINAL
from app.models import (
    Attempt,
    Condensed,
    IdempotencyKey,
    Job,
    JobEvent,
    OutboxMessage,
    Verification,
    WebhookDelivery,
)


def result_made_by(session: Session, job_id: str) -> Condensed | None:
    """The condensed dataset that this job computed, or took over; its row is locked."""
    return session.scalar(select(Condensed).where(Condensed.job_id == job_id).with_for_update())


def lock_maker(session: Session, condensed_id: str) -> None:
    """Lock the job that made this result, if both are there."""
    maker = select(Condensed.job_id).where(Condensed.id == condensed_id).scalar_subquery()
    session.execute(select(Job.id).where(Job.id == maker).with_for_update(of=Job))


def other_user_of(session: Session, condensed_id: str, job_id: str) -> Job | None:
    """Another job that was answered with this result."""
    others = select(Job).where(Job.condensed_id == condensed_id, Job.id != job_id)
    return session.scalar(others.order_by(Job.id).limit(1))


def forget_result(session: Session, condensed_id: str) -> None:
    """Jobs no longer point at this result."""
    users = Job.condensed_id == condensed_id
    _lock_in_order(session, users)
    session.execute(update(Job).where(users).values(condensed_id=None, headline=None))


def forget_dataset(session: Session, dataset_id: str) -> None:
    """Jobs no longer point at this upload."""
    on_it = Job.dataset_id == dataset_id
    _lock_in_order(session, on_it)
    session.execute(update(Job).where(on_it).values(dataset_id=None))


def _lock_in_order(session: Session, jobs: ColumnElement[bool]) -> None:
    """Lock these jobs, the lowest id first: of two who delete neither then waits for the other."""
    session.execute(select(Job.id).where(jobs).order_by(Job.id).with_for_update())


def active_jobs_on(session: Session, dataset_id: str) -> int:
    """Jobs on this upload that have not ended."""
    active = (Job.dataset_id == dataset_id, Job.status.not_in(TERMINAL))
    return session.scalar(select(func.count()).select_from(Job).where(*active)) or 0


def forget_answers(session: Session, object_id: str) -> None:
    """Answers kept for repeated requests describe what they created."""
    told = IdempotencyKey.object_id == object_id
    # As the version wrote them that knew no such column; none is left a day after the last of it.
    told_before = and_(
        IdempotencyKey.object_id.is_(None), IdempotencyKey.answer["id"].as_string() == object_id
    )
    session.execute(delete(IdempotencyKey).where(or_(told, told_before)))


def delete_history(session: Session, job_id: str) -> None:
    """Events, attempts and messages of a job, those to webhooks included."""
    for table in (JobEvent, Attempt, OutboxMessage, WebhookDelivery):
        session.execute(delete(table).where(table.job_id == job_id))


def ended_before(session: Session, moment: datetime, limit: int) -> list[str]:
    """The oldest of the jobs that ended before this moment, in the order of their ids."""
    old = select(Job.id).where(Job.status.in_(TERMINAL), Job.finished_at < moment)
    return sorted(session.scalars(old.order_by(Job.finished_at).limit(limit)))


def verifications_of(session: Session, condensed_id: str) -> list[Verification]:
    """Verifications of this condensed dataset, finished or not."""
    own = select(Verification).where(Verification.condensed_id == condensed_id)
    return list(session.scalars(own.order_by(Verification.id)))
