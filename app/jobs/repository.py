"""Queries about jobs."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.jobs.states import Status
from app.kit.pages import PageQuery
from app.kit.tenancy import EVERY_TENANT
from app.models import Job
from dcpi_core.spec.errors import NotFound


def get(session: Session, job_id: str, *, lock: bool = False) -> Job:
    """The job with this id, its row locked if wanted; raises NotFound."""
    job = session.get(Job, job_id, with_for_update=lock)
    if job is None:
        raise NotFound(f"no job {job_id!r}")
    return job


def find(
    session: Session, page: PageQuery, filters: dict[str, Any], created_after: datetime | None
) -> list[Job]:
    """Jobs that match every filter given, one more than the page holds."""
    statement = select(Job)
    if statuses := filters.pop("status", None):
        statement = statement.where(Job.status.in_(statuses))
    if pi_type := filters.pop("pi_type", None):
        statement = statement.where(has_type(Job.pi_types, pi_type))
    if dataset := filters.pop("dataset", None):
        statement = statement.where(or_(Job.dataset == dataset, Job.dataset_id == dataset))
    for name, value in filters.items():
        if value is not None:
            statement = statement.where(getattr(Job, name) == value)
    if created_after is not None:
        statement = statement.where(Job.created_at > created_after)
    return list(session.scalars(page.select(statement, Job.id)))


def has_type(column: Any, pi_type: str) -> Any:
    """Whether a comma-separated column contains the type."""
    return ("," + column + ",").contains(f",{pi_type},", autoescape=True)


def ahead_of(session: Session, job: Job) -> int:
    """Queued jobs that were submitted before this one, by anybody."""
    statement = select(func.count()).select_from(Job)
    ahead = statement.where(Job.status == Status.QUEUED, Job.id < job.id)
    return session.scalar(ahead, execution_options=EVERY_TENANT) or 0
