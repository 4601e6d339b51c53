"""Who may work on a job, and what becomes of it.

A worker claims a job by writing its own token into the row; every later write names that token. A
worker that was silent for too long loses the lease, and whatever it still writes hits no row.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import case, select, update
from sqlalchemy.orm import Session

from app.jobs.events import STATUS, append_event
from app.jobs.states import LEASED, Status, allowed_before
from app.jobs.usage import is_held
from app.kit import outbox
from app.kit.clock import now
from app.kit.ids import new_id
from app.models import Condensed, Job


@dataclass(frozen=True)
class Lease:
    """The right to work on one job until it expires or is given back."""

    job_id: str
    token: str
    attempt: int
    seconds: float


class Wanted(StrEnum):
    """What a worker should do next."""

    CONTINUE = "continue"
    CANCEL = "cancel"
    FENCED = "fenced"


def claim(session: Session, job_id: str, owner: str, seconds: float) -> Lease | None:
    """Take a queued job; None if it is not queued (any more), or its tenant has too many running.

    Of two claimants one succeeds.
    """
    if is_held(session, job_id):
        return None
    token, moment = new_id("lease"), now()
    attempt = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.status == Status.QUEUED)
        .values(
            status=Status.RUNNING,
            attempt=Job.attempt + 1,
            started_at=case((Job.started_at.is_(None), moment), else_=Job.started_at),
            lease_owner=owner,
            lease_token=token,
            lease_expires_at=moment + timedelta(seconds=seconds),
        )
        .returning(Job.attempt)
    ).scalar_one_or_none()
    if attempt is None:
        return None
    append_event(session, job_id, STATUS, {"status": Status.RUNNING, "attempt": attempt})
    return Lease(job_id, token, attempt, seconds)


def heartbeat(session: Session, lease: Lease, progress: dict[str, Any] | None = None) -> Wanted:
    """Say that the work goes on, and hear whether it should."""
    values: dict[str, Any] = {"lease_expires_at": now() + timedelta(seconds=lease.seconds)}
    if progress is not None:
        values["progress"] = progress
    status = session.execute(
        update(Job).where(*_held(lease)).values(values).returning(Job.status)
    ).scalar_one_or_none()
    if status is None:
        return Wanted.FENCED
    return Wanted.CANCEL if status == Status.CANCELLING else Wanted.CONTINUE


def finish(session: Session, lease: Lease, condensed: Condensed) -> bool:
    """The job succeeded and this is its result; false if the lease was lost."""
    values = {"condensed_id": condensed.id, "headline": condensed.headline}
    if not _end(session, lease, Status.SUCCEEDED, values):
        return False
    session.add(condensed)
    return True


def fail(session: Session, lease: Lease, code: str, detail: str) -> bool:
    """The job cannot be done, by its own fault; false if the lease was lost."""
    return _end(session, lease, Status.FAILED, {"error_code": code, "error_detail": detail})


def cancelled(session: Session, lease: Lease) -> bool:
    """The worker has stopped as was asked; false if the lease was lost."""
    return _end(session, lease, Status.CANCELLED, {})


def release(
    session: Session,
    lease: Lease,
    queue: str,
    *,
    max_attempts: int,
    reason: str,
    pause_seconds: float = 0.0,
) -> Status | None:
    """Give the job back: to the queue, or to nobody after too many attempts; None if lost.

    A job that was being cancelled is cancelled now. With a pause workers are called only then, so
    that whatever is broken gets time to recover before the attempts are used up.
    """
    job = session.scalar(select(Job).where(*_held(lease)).with_for_update())
    if job is None:
        return None
    return _give_up(session, job, queue, max_attempts, reason, pause_seconds)


def hand_over(session: Session, lease: Lease, queue: str) -> Status | None:
    """Give the job back because this worker shuts down; it costs no attempt. None if lost."""
    job = session.scalar(select(Job).where(*_held(lease)).with_for_update())
    if job is None:
        return None
    job.attempt -= 1
    return _give_up(session, job, queue, job.attempt + 1, "worker shut down")


def reap(session: Session, queue: str, max_attempts: int) -> list[str]:
    """Give up every lease that has run out; returns the jobs concerned."""
    expired = select(Job).where(Job.status.in_(LEASED), Job.lease_expires_at < now())
    jobs = session.scalars(expired.with_for_update(skip_locked=True)).all()
    for job in jobs:
        _give_up(session, job, queue, max_attempts, "worker was lost")
    return [job.id for job in jobs]


def _held(lease: Lease) -> tuple[Any, ...]:
    return (Job.id == lease.job_id, Job.lease_token == lease.token, Job.status.in_(LEASED))


def _end(session: Session, lease: Lease, status: Status, values: dict[str, Any]) -> bool:
    found = session.execute(
        update(Job)
        .where(*_held(lease), Job.status.in_(allowed_before(status)))
        .values(status=status, finished_at=now(), lease_token=None, lease_expires_at=None, **values)
        .returning(Job.id)
    ).scalar_one_or_none()
    if found is None:
        return False
    shown = {name: value for name, value in values.items() if name != "headline"}
    append_event(session, lease.job_id, STATUS, {"status": status, **shown})
    return True


def _give_up(
    session: Session,
    job: Job,
    queue: str,
    max_attempts: int,
    reason: str,
    pause_seconds: float = 0.0,
) -> Status:
    job.lease_token = job.lease_owner = job.lease_expires_at = None
    moment = now()
    if job.status == Status.CANCELLING:
        status = Status.CANCELLED
    elif job.attempt >= max_attempts:
        status = Status.CRASHED
        job.error_code = "attempts_exhausted"
        job.error_detail = f"{reason}; given up after {job.attempt} attempts"
    else:
        status = Status.QUEUED
        job.queued_at = moment
        job.ring_at = None
        if pause_seconds:
            job.ring_at = moment + timedelta(seconds=pause_seconds)
        else:
            outbox.ring(session, job.id, queue)
    job.status = status
    if status is not Status.QUEUED:
        job.finished_at = moment
    session.flush()
    append_event(session, job.id, STATUS, {"status": status, "reason": reason})
    return status
