"""Queries about condensed datasets."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import ForUpdateParameter

from app.jobs.repository import has_type
from app.kit.pages import PageQuery
from app.models import Condensed, Job, Verification
from dcpi_core.spec.errors import NotFound


def get(session: Session, condensed_id: str, *, lock: ForUpdateParameter = None) -> Condensed:
    """The condensed dataset with this id, its row locked if wanted; raises NotFound."""
    row = session.get(Condensed, condensed_id, with_for_update=lock)
    if row is None:
        raise NotFound(f"no condensed dataset {condensed_id!r}")
    return row


def find(session: Session, page: PageQuery, filters: dict[str, Any]) -> list[Condensed]:
    """Condensed datasets that match every filter given, one more than the page holds."""
    statement = select(Condensed)
    if pi_type := filters.pop("pi_type", None):
        statement = statement.where(has_type(Condensed.pi_types, pi_type))
    if dataset := filters.pop("dataset", None):
        of_upload = select(Job.id).where(Job.dataset_id == dataset)
        named = Condensed.dataset == dataset
        statement = statement.where(or_(named, Condensed.job_id.in_(of_upload)))
    for name, value in filters.items():
        if value is not None:
            statement = statement.where(getattr(Condensed, name) == value)
    return list(session.scalars(page.select(statement, Condensed.id)))


def latest_verifications(session: Session, condensed_ids: Collection[str]) -> dict[str, Any]:
    """Of each condensed dataset the newest verification that has a verdict, without its record."""
    ended = (Verification.condensed_id.in_(condensed_ids), Verification.verdict.is_not(None))
    newest = select(func.max(Verification.id)).where(*ended).group_by(Verification.condensed_id)
    columns = (
        Verification.condensed_id,
        Verification.id,
        Verification.verdict,
        Verification.repeats,
        Verification.finished_at,
    )
    found = session.execute(select(*columns).where(Verification.id.in_(newest)))
    return {row.condensed_id: row for row in found.all()}
