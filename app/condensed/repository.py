"""Queries about condensed datasets."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.jobs.repository import has_type
from app.kit.pages import PageQuery
from app.models import Condensed
from dcpi_core.spec.errors import NotFound


def get(session: Session, condensed_id: str) -> Condensed:
    """The condensed dataset with this id; raises NotFound."""
    row = session.get(Condensed, condensed_id)
    if row is None:
        raise NotFound(f"no condensed dataset {condensed_id!r}")
    return row


def find(session: Session, page: PageQuery, filters: dict[str, Any]) -> list[Condensed]:
    """Condensed datasets that match every filter given, one more than the page holds."""
    statement = select(Condensed)
    if pi_type := filters.pop("pi_type", None):
        statement = statement.where(has_type(Condensed.pi_types, pi_type))
    for name, value in filters.items():
        if value is not None:
            statement = statement.where(getattr(Condensed, name) == value)
    return list(session.scalars(page.select(statement, Condensed.id)))
