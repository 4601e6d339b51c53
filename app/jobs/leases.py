"""Who may work on a job, and what becomes of it.

A worker claims a job by writing its own token into the row; every later write names that token. A
worker that was silent for too long loses the lease, and whatever it still writes hits no row.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Select, case, select, update
from sqlalchemy.orm import Session

from app.jobs import attempts
from app.jobs.events import STATUS, append_event
from app.jobs.states import LEASED, TERMINAL, WAITING, Status, allowed_before
from app.jobs.usage import call_for_free_place, is_held
from app.kit import outbox
from app.kit.clock import now
from app.kit.ids import new_id
from app.models import Condensed, Job
from dcpi_core.spec.errors import OUT_OF_MEMORY

BATCH = 100
WORKER_ERROR = "worker_error"


@dataclass(frozen=True)
class Lease:
    """The right to work on one job until it expires or is given back."""

    job_id: str
    token: str
    attempt: int
    seconds: float


@dataclass(frozen=True)
class Why:
    """Why an attempt ended before the work did: a stable code and a sentence."""

    code: str | None
    reason: str | None


SHUTDOWN = Why("worker_shutdown", "worker shut down")


class Wanted(StrEnum):
    """What a worker should do next."""

    CONTINUE = "continue"
    PAUSE = "pause"
    CANCEL = "cancel"
    EXPIRE = "expire"
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
            claimed_at=moment,
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
    attempts.begin(session, job_id, owner)
    append_event(session, job_id, STATUS, {"status": Status.RUNNING, "attempt": attempt})
    return Lease(job_id, token, attempt, seconds)


def heartbeat(session: Session, lease: Lease, progress: dict[str, Any] | None = None) -> Wanted:
    """Say that the work goes on, and hear whether it should."""
    values: dict[str, Any] = {"lease_expires_at": now() + timedelta(seconds=lease.seconds)}
    if progress is not None:
        values["progress"] = progress
    found = session.execute(
        update(Job).where(*_held(lease)).values(values).returning(Job.status, Job.deadline_at)
    ).one_or_none()
    return Wanted.FENCED if found is None else wanted_of(*found)


def look(session: Session, lease: Lease) -> Wanted:
    """Read what the job wants without renewing the lease; cheap enough for every second."""
    found = session.execute(select(Job.status, Job.deadline_at).where(*_held(lease))).one_or_none()
    return Wanted.FENCED if found is None else wanted_of(*found)


def wanted_of(status: str, deadline_at: datetime | None) -> Wanted:
    """What a job in this state asks of the worker that holds it."""
    if status == Status.CANCELLING:
        return Wanted.CANCEL
    if status == Status.PAUSING:
        return Wanted.PAUSE
    if deadline_at is not None and deadline_at < now():
        return Wanted.EXPIRE
    return Wanted.CONTINUE


def finish(session: Session, lease: Lease, condensed: Condensed) -> bool:
    """The job succeeded and this is its result; false if the lease was lost."""
    values = {"condensed_id": condensed.id, "headline": condensed.headline}
    if not succeed(session, lease, {"condensed_id": condensed.id}, values):
        return False
    session.add(condensed)
    return True


def succeed(
    session: Session, lease: Lease, told: dict[str, Any], values: dict[str, Any] | None = None
) -> bool:
    """The job is done; false if the lease was lost.

    Args:
        session: that of the transaction in which its result is recorded.
        lease: the worker's.
        told: what its last event says of the result.
        values: columns of its row.
    """
    return _end(session, lease, Status.SUCCEEDED, values or {}, told)


def fail(session: Session, lease: Lease, code: str, detail: str) -> bool:
    """The job cannot be done, by its own fault; false if the lease was lost."""
    why = {"error_code": code, "error_detail": detail}
    return _end(session, lease, Status.FAILED, why, why)


def cancelled(session: Session, lease: Lease) -> bool:
    """The worker has stopped as was asked; false if the lease was lost."""
    return _end(session, lease, Status.CANCELLED, {}, {})


def stop(session: Session, lease: Lease, status: Status) -> Status | None:
    """The worker has stopped before the end, for a pause or at the deadline; None if lost.

    A job that somebody cancelled in the meantime is cancelled. A pause costs no attempt.
    """
    job = session.scalar(select(Job).where(*_held(lease)).with_for_update())
    if job is None:
        return None
    left = _instead(job, status)
    if left is Status.PAUSED:
        job.attempt -= 1
    return _let_go(session, job, left)


def overdue() -> Select[Job]:
    """Jobs whose deadline passed while nobody worked on them."""
    return select(Job).where(Job.status.in_(WAITING), Job.deadline_at < now())


def expire(session: Session) -> list[str]:
    """End jobs that are overdue, ``BATCH`` at most; returns which."""
    some = overdue().limit(BATCH).with_for_update(skip_locked=True)
    jobs = session.scalars(some).all()
    for job in jobs:
        _let_go(session, job, Status.EXPIRED)
    return [job.id for job in jobs]


def release(
    session: Session,
    lease: Lease,
    *,
    max_attempts: int,
    reason: str,
    code: str = WORKER_ERROR,
    pause_seconds: float = 0.0,
) -> Status | None:
    """Give the job back: to the queue, or to nobody after too many attempts; None if lost.

    A job that wanted more memory than there was is made smaller for its next attempt.

    A job that was being cancelled or paused is so now. Workers are called after ``pause_seconds``,
    so that whatever is broken gets time to recover before the attempts are used up.
    """
    job = session.scalar(select(Job).where(*_held(lease)).with_for_update())
    if job is None:
        return None
    if code == OUT_OF_MEMORY:
        job.shrink += 1
    return _give_up(session, job, max_attempts, Why(code, reason), pause_seconds)


def hand_over(
    session: Session, lease: Lease, why: Why = SHUTDOWN, pause_seconds: float = 0.0
) -> Status | None:
    """Give the job back through no fault of anybody's; it costs no attempt. None if lost."""
    job = session.scalar(select(Job).where(*_held(lease)).with_for_update())
    if job is None:
        return None
    job.attempt -= 1
    return _give_up(session, job, job.attempt + 1, why, pause_seconds)


def silent() -> Select[Job]:
    """Jobs whose leases have run out."""
    return select(Job).where(Job.status.in_(LEASED), Job.lease_expires_at < now())


def reap(session: Session, max_attempts: int) -> list[str]:
    """Give up every lease that has run out; returns the jobs concerned."""
    # Of two reapers neither waits for a tenant whose device time the other has written down.
    in_turn = silent().order_by(Job.tenant_id, Job.id).with_for_update(skip_locked=True)
    jobs = session.scalars(in_turn).all()
    for job in jobs:
        _give_up(session, job, max_attempts, Why("worker_lost", "worker was lost"))
    return [job.id for job in jobs]


def _held(lease: Lease) -> tuple[Any, ...]:
    return (Job.id == lease.job_id, Job.lease_token == lease.token, Job.status.in_(LEASED))


def _end(
    session: Session, lease: Lease, status: Status, values: dict[str, Any], told: dict[str, Any]
) -> bool:
    tenant_id = session.execute(
        update(Job)
        .where(*_held(lease), Job.status.in_(allowed_before(status)))
        .values(status=status, finished_at=now(), lease_token=None, lease_expires_at=None, **values)
        .returning(Job.tenant_id)
    ).scalar_one_or_none()
    if tenant_id is None:
        return False
    attempts.end(
        session, lease.job_id, status, values.get("error_code"), values.get("error_detail")
    )
    append_event(session, lease.job_id, STATUS, {"status": status, **told})
    call_for_free_place(session, tenant_id)
    return True


def _give_up(
    session: Session,
    job: Job,
    max_attempts: int,
    why: Why,
    pause_seconds: float = 0.0,
) -> Status:
    status = _instead(job, Status.QUEUED)
    if status is Status.QUEUED and job.attempt >= max_attempts:
        status = Status.CRASHED
        job.error_code = "attempts_exhausted"
        job.error_detail = f"{why.reason}; given up after {job.attempt} attempts"
    if status is Status.QUEUED:
        job.queued_at = now()
        job.ring_at = job.not_before = None
        if pause_seconds:
            job.ring_at = job.not_before = job.queued_at + timedelta(seconds=pause_seconds)
        else:
            outbox.ring(session, job.id, job.queue)
    return _let_go(session, job, status, why)


def _instead(job: Job, status: Status) -> Status:
    """What a job that its worker lets go becomes, given what was asked of it meanwhile."""
    if job.status == Status.CANCELLING:
        return Status.CANCELLED
    if job.status == Status.PAUSING and status is Status.QUEUED:
        return Status.PAUSED
    return status


def _let_go(session: Session, job: Job, status: Status, why: Why | None = None) -> Status:
    """Nobody works on the job any more, and this is its new state."""
    assert job.status in allowed_before(status)
    had_place = job.status in LEASED
    job.lease_token = job.lease_owner = job.lease_expires_at = None
    job.status = status
    if status in TERMINAL:
        job.finished_at = now()
    if status is Status.EXPIRED:
        job.error_code = "deadline_passed"
        job.error_detail = f"not done within the {job.deadline_seconds} seconds it was given"
    session.flush()
    why = why or Why(job.error_code, job.error_detail)
    attempts.end(session, job.id, status, why.code, why.reason)
    told = {"reason": why.reason, "code": why.code} if why.code else {}
    append_event(session, job.id, STATUS, {"status": status, **told})
    if had_place:
        call_for_free_place(session, job.tenant_id)
    return status
