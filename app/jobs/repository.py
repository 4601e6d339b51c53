"""Queries about jobs."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.kit.db import KEPT
from app.kit.pages import PageQuery
from app.models import Dataset, Job
from dcpi_core.spec.errors import NotFound


def get(session: Session, job_id: str, *, lock: bool = False) -> Job:
    """The job with this id, its row locked if wanted; raises NotFound."""
    job = session.get(Job, job_id, with_for_update=lock)
    if job is None:
        raise NotFound(f"no job {job_id!r}")
    return job


def keep_upload(session: Session, job_id: str) -> None:
    """Have the upload that this job is on stay until the commit, if both are there.

    Asked for before the job is locked: a deletion locks the upload, then the jobs on it.
    """
    upload_id = select(Job.dataset_id).where(Job.id == job_id).scalar_subquery()
    session.execute(select(Dataset.id).where(Dataset.id == upload_id).with_for_update(**KEPT))


def queue_of(session: Session, job_id: str) -> str | None:
    """The queue that the job was submitted to; None if there is no such job (any more)."""
    return session.scalar(select(Job.queue).where(Job.id == job_id))


def positions(session: Session, job_ids: Collection[str]) -> list[tuple[str, int, str]]:
    """Id, number of the last event and status of those of the jobs that there are."""
    wanted = select(Job.id, Job.last_event, Job.status).where(Job.id.in_(job_ids))
    return [(job_id, last, status) for job_id, last, status in session.execute(wanted)]


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
