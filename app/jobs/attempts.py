"""The record of attempts: written in the transaction that claims a job or lets it go."""

import itertools

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.jobs import device_time
from app.kit.clock import now
from app.models import Attempt, Job


def begin(session: Session, job_id: str, worker: str) -> None:
    """A worker has claimed the job."""
    earlier = select(func.count()).select_from(Attempt).where(Attempt.job_id == job_id)
    shrink = session.scalar(select(Job.shrink).where(Job.id == job_id))
    session.add(
        Attempt(
            job_id=job_id,
            number=(session.scalar(earlier) or 0) + 1,
            worker=worker,
            shrink=shrink,
            started_at=now(),
        )
    )


def end(
    session: Session, job_id: str, outcome: str, code: str | None = None, detail: str | None = None
) -> None:
    """The job was left in the state ``outcome``; nothing happens if nobody was at work on it.

    What it took of the tenant's device time is written down with it.
    """
    moment = now()
    going_on = update(Attempt).where(Attempt.job_id == job_id, Attempt.ended_at.is_(None))
    ended = going_on.values(ended_at=moment, outcome=outcome, code=code, detail=detail)
    for since in session.scalars(ended.returning(Attempt.started_at)).all():
        tenant_id = session.scalars(select(Job.tenant_id).where(Job.id == job_id)).one()
        device_time.spend(session, tenant_id, since, moment)


def of_job(session: Session, job_id: str) -> list[Attempt]:
    """All attempts at the job, in order."""
    statement = select(Attempt).where(Attempt.job_id == job_id)
    return list(session.scalars(statement.order_by(Attempt.number)))


def in_a_row(session: Session, job_id: str, code: str) -> int:
    """How many attempts, counted from the last that has ended, ended for this reason."""
    ended = [row.code for row in of_job(session, job_id) if row.ended_at is not None]
    return len(list(itertools.takewhile(lambda own: own == code, reversed(ended))))
