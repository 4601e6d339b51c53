"""Rules about jobs: what is accepted, and how jobs are found and shown."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.datasets import service as datasets
from app.jobs import attempts, repository
from app.jobs.events import events_after
from app.jobs.picking import ahead_of
from app.jobs.schemas import JobRead, read_attempt, read_event, read_job
from app.jobs.states import TERMINAL, Status
from app.kit.pages import PageQuery
from app.models import Job
from app.settings import Settings
from dcpi_core.spec.errors import BudgetError, FieldProblem
from dcpi_core.spec.estimate import Estimate, estimate
from dcpi_core.spec.job import JobRequest, JobSpec
from dcpi_core.spec.resolve import resolve


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
