"""Queries about uploaded datasets."""

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.kit.pages import PageQuery
from app.models import Dataset


def find(session: Session, page: PageQuery) -> list[Dataset]:
    """Uploads, one more than the page holds."""
    return list(session.scalars(page.select(select(Dataset), Dataset.id)))


def by_id_or_name(session: Session, wanted: str) -> Dataset | None:
    """The upload with this id or name."""
    return session.scalar(select(Dataset).where(or_(Dataset.id == wanted, Dataset.name == wanted)))


def names(session: Session) -> list[str]:
    """Names of all uploads."""
    return list(session.scalars(select(Dataset.name).order_by(Dataset.name)))
