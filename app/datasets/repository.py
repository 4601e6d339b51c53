"""Queries about uploaded datasets."""

from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.kit.pages import PageQuery
from app.models import Dataset


def find(session: Session, page: PageQuery) -> list[Dataset]:
    """Uploads, one more than the page holds."""
    return list(session.scalars(page.select(select(Dataset), Dataset.id)))


def by_id_or_name(
    session: Session, wanted: str, *, lock: dict[str, Any] | None = None
) -> Dataset | None:
    """The upload with this id or name, its row locked if wanted: arguments of the lock."""
    found = select(Dataset).where(or_(Dataset.id == wanted, Dataset.name == wanted))
    if lock is not None:
        found = found.with_for_update(**lock)
    return session.scalar(found)


def names(session: Session) -> list[str]:
    """Names of all uploads."""
    return list(session.scalars(select(Dataset.name).order_by(Dataset.name)))
