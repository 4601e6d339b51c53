"""Rules about jobs: what is accepted, and how jobs are found and shown."""

import logging
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.datasets import service as datasets
from app.jobs import attempts, repository, usage
from app.jobs.control import deadline_of
from app.jobs.events import events_after, first_event
from app.jobs.kinds import Kind
from app.jobs.picking import ahead_of
from app.jobs.schemas import RANKS, JobRead, read_attempt, read_event, read_job
from app.jobs.states import TERMINAL, Status
from app.kit import outbox
from app.kit.clock import now
from app.kit.ids import new_id
from app.kit.pages import PageQuery
from app.models import Condensed, Job
from app.settings import Settings
from dcpi_core import __version__
from dcpi_core.spec.errors import BudgetError, FieldProblem
from dcpi_core.spec.estimate import Estimate, estimate
from dcpi_core.spec.job import NO_PRIVILEGED, JobRequest, JobSpec, JobSubmission
from dcpi_core.spec.resolve import resolve

logger = logging.getLogger(__name__)


def resolve_request(
    session: Session, settings: Settings, request: JobRequest
) -> tuple[JobSpec, str | None]:
    """The spec of a request, and the id of the upload it is about, if any.

    Raises:
        InvalidInput: names every offending field.
    """
    facts, dataset_id = datasets.facts_of(session, request.dataset)
    spec = resolve(request, facts)
    if spec.num_images > settings.max_images:
        pointer = "/fraction" if request.fraction is not None else "/images_per_class"
        message = (
            f"{spec.num_images} images ({spec.images_per_class} per class) are more than this "
            f"service's limit of {settings.max_images}; remember that a fraction is a ratio, "
            'so "0.2%" is 0.002'
        )
        raise BudgetError(message, [FieldProblem(pointer, "budget_too_large", message)])
    return spec, dataset_id


def estimate_request(session: Session, settings: Settings, request: JobRequest) -> Estimate:
    """What a job would cost; changes nothing."""
    return estimate(resolve_request(session, settings, request)[0])


def create(session: Session, settings: Settings, request: JobSubmission) -> Job:
    """Accept a job: its row, its first event and its message, in one transaction.

    A job whose spec has been computed before is answered with that result, unless it asks not to.

    Raises:
        InvalidInput: names every offending field.
        QuotaExceeded: the tenant has as many jobs, bytes or device seconds as it may.
    """
    spec, dataset_id = resolve_request(session, settings, request)
    cost = estimate(spec)
    moment = now()
    job = Job(
        id=new_id("job"),
        kind=Kind.CONDENSE,
        status=Status.QUEUED,
        name=request.name,
        labels=dict(request.metadata),
        request=request.model_dump(mode="json"),
        spec=spec.model_dump(mode="json"),
        spec_digest=spec.digest(),
        dataset=spec.dataset.name,
        dataset_id=dataset_id,
        base_method=spec.base_method.name,
        pi_types=",".join(c.name for c in spec.privileged) or NO_PRIVILEGED,
        images_per_class=spec.images_per_class,
        estimate=cost.model_dump(mode="json"),
        created_at=moment,
        queued_at=moment,
        priority=RANKS[request.priority],
        queue=settings.queue,
        deadline_seconds=request.deadline_seconds,
        deadline_at=deadline_of(request.deadline_seconds),
    )
    twin = None
    if request.cache == "reuse":
        twin = repository.twin_of(session, job.spec_digest, __version__)
    if twin is None:
        enqueue(session, job, cost.bytes.get("total", 0))
    else:
        _answer_at_once(session, job, twin)
    logger.info("job %s: submitted, %s", job.id, job.status, extra={"fields": {"job_id": job.id}})
    return job


def enqueue(session: Session, job: Job, result_bytes: int) -> None:
    """Queue a new job of any kind: its row, its first event and its message.

    Args:
        session: of the request.
        job: not yet in the session; its status is ``queued``.
        result_bytes: what its result will take of the storage.

    Raises:
        QuotaExceeded: the tenant has as many jobs, bytes or device seconds as it may.
    """
    usage.require_room(session, result_bytes)
    outbox.ring(session, job.id, job.queue)
    first_event(session, job, {"status": Status.QUEUED})


def _answer_at_once(session: Session, job: Job, twin: Condensed) -> None:
    job.status, job.cached = Status.SUCCEEDED, True
    job.finished_at, job.deadline_at = job.created_at, None
    job.condensed_id, job.headline = twin.id, twin.headline
    told = {"status": Status.SUCCEEDED, "cached": True, "condensed_id": twin.id}
    first_event(session, job, told)


def find(
    session: Session, page: PageQuery, filters: dict[str, Any], created_after: datetime | None
) -> dict[str, Any]:
    """A page of the jobs that match every filter given."""
    return page.page(repository.find(session, page, filters, created_after), read_job)


def get(session: Session, job_id: str) -> JobRead:
    """One job as it is shown; raises NotFound."""
    return show(session, repository.get(session, job_id))


def attempts_at(session: Session, job_id: str) -> dict[str, Any]:
    """Every attempt at the job, oldest first; raises NotFound."""
    repository.get(session, job_id)
    found = [read_attempt(row) for row in attempts.of_job(session, job_id)]
    return {"data": found, "has_more": False}


def history(session: Session, job_id: str, after: int, limit: int) -> dict[str, Any]:
    """A page of the job's events after number ``after``; raises NotFound."""
    repository.get(session, job_id)
    rows = events_after(session, job_id, after, limit + 1)
    shown = [read_event(row) for row in rows[:limit]]
    return {
        "data": shown,
        "first_id": str(shown[0].id) if shown else None,
        "last_id": str(shown[-1].id) if shown else None,
        "has_more": len(rows) > limit,
    }


def show(session: Session, job: Job) -> JobRead:
    """The job as it is shown, with its place in the queue."""
    queued = job.status == Status.QUEUED
    return read_job(job, ahead_of(session, job) if queued else None)


def has_ended(job: Job) -> bool:
    """Whether nothing more will happen to the job."""
    return Status(job.status) in TERMINAL
