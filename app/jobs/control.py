"""What may be done with a job that exists: cancel, pause, resume, retry.

Each may be repeated: a job that is already on its way there is answered as it is. What cannot be
done from its state is a Conflict that says what can.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from app.jobs import repository, usage
from app.jobs.events import STATUS, append_event
from app.jobs.states import RETRIED, TERMINAL, Status, allowed_before
from app.kit import outbox
from app.kit.clock import now
from app.models import Job
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.errors import Conflict


def cancel(session: Session, job_id: str) -> Job:
    """Ask for the end of a job; a job that has ended stays as it is."""
    job = repository.get(session, job_id, lock=True)
    status = Status(job.status)
    if status in (Status.QUEUED, Status.PAUSED):
        _move(session, job, Status.CANCELLED)
    elif status in (Status.RUNNING, Status.PAUSING):
        _move(session, job, Status.CANCELLING)
    return job


def pause(session: Session, job_id: str) -> Job:
    """Take a job out of the queue, or have its worker write a checkpoint and let it go.

    Raises:
        Conflict: the job has ended or is being cancelled.
    """
    job = repository.get(session, job_id, lock=True)
    status = Status(job.status)
    if status is Status.QUEUED:
        _move(session, job, Status.PAUSED)
    elif status is Status.RUNNING:
        _move(session, job, Status.PAUSING)
    elif status not in (Status.PAUSING, Status.PAUSED):
        raise Conflict(f"the job is {status}; only a queued or running job can be paused")
    return job


def resume(session: Session, job_id: str) -> Job:
    """Put a paused job back into the queue; its next attempt goes on from its checkpoint.

    Raises:
        Conflict: the job has ended, or a worker is just stopping.
        QuotaExceeded: the tenant has no device time left.
    """
    job = repository.get(session, job_id, lock=True)
    status = Status(job.status)
    if status is Status.PAUSED:
        usage.require_device_time(session)
        _queue(session, job, "resumed")
    elif status is Status.PAUSING:
        raise Conflict("the job's worker is still stopping; resume it once it is paused")
    elif status not in (Status.QUEUED, Status.RUNNING):
        raise Conflict(f"the job is {status}; only a paused job can be resumed")
    return job


def retry(session: Session, job_id: str, *, from_checkpoint: bool) -> Job:
    """Queue a job again that ended without a result; attempts and deadline count anew.

    Args:
        session: of the request.
        job_id: the job.
        from_checkpoint: whether a checkpoint was found; told in the job's events.

    Raises:
        Conflict: the job succeeded, is paused or being stopped, or its dataset was deleted.
        QuotaExceeded: there is no room for it, as there would be none for a new job.
    """
    repository.keep_upload(session, job_id)
    job = repository.get(session, job_id, lock=True)
    status = Status(job.status)
    if status in RETRIED:
        if job.dataset_id is None and job.dataset not in load_catalog().datasets:
            raise Conflict(f"the dataset {job.dataset!r} of this job was deleted")
        usage.require_room(session, job.estimate.get("bytes", {}).get("total", 0))
        job.attempt = 0
        job.deadline_at = deadline_of(job.deadline_seconds)
        job.finished_at = job.error_code = job.error_detail = None
        start = "checkpoint" if from_checkpoint else "beginning"
        _queue(session, job, "retried", starts_from=start)
    elif status not in (Status.QUEUED, Status.RUNNING):
        ended = ", ".join(sorted(RETRIED))
        raise Conflict(f"the job is {status}; only a job that ended as {ended} can be retried")
    return job


def deadline_of(seconds: int | None) -> datetime | None:
    """The moment that is so many seconds ahead."""
    return None if seconds is None else now() + timedelta(seconds=seconds)


def _queue(session: Session, job: Job, reason: str, **told: Any) -> None:
    job.queued_at = now()
    job.ring_at = job.not_before = None
    outbox.ring(session, job.id, job.queue)
    _move(session, job, Status.QUEUED, reason=reason, **told)


def _move(session: Session, job: Job, status: Status, **told: Any) -> None:
    assert job.status in allowed_before(status)
    job.status = status
    if status in TERMINAL:
        job.finished_at = now()
    session.flush()
    append_event(session, job.id, STATUS, {"status": status, **told})
    session.refresh(job)
