"""Rules about condensed datasets."""

import operator
from typing import Any

from sqlalchemy.orm import Session

from app.condensed import repository
from app.condensed.schemas import CondensedRead, read_condensed, read_verified
from app.kit.pages import PageQuery
from app.models import Condensed


def find(session: Session, page: PageQuery, filters: dict[str, Any]) -> dict[str, Any]:
    """A page of the condensed datasets that match every filter given."""
    rows = repository.find(session, page, filters)
    latest = repository.latest_verifications(session, [row.id for row in rows])
    return page.page(rows, lambda row: read_condensed(row, read_verified(latest.get(row.id))))


def get(session: Session, condensed_id: str) -> CondensedRead:
    """One condensed dataset as it is shown; raises NotFound."""
    row = repository.get(session, condensed_id)
    latest = repository.latest_verifications(session, [row.id])
    return read_condensed(row, read_verified(latest.get(row.id)))


def row_of(session: Session, condensed_id: str) -> Condensed:
    """The row itself, for serving its files; raises NotFound."""
    return repository.get(session, condensed_id)


def files(session: Session, condensed_id: str, page: PageQuery) -> dict[str, Any]:
    """A page of its files by path; ``after`` is a path."""
    found = {file["path"]: file for file in repository.get(session, condensed_id).files}
    descending = page.order == "desc"
    if page.after is not None:
        beyond = operator.lt if descending else operator.gt
        found = {path: file for path, file in found.items() if beyond(path, page.after)}
    rest = [found[path] for path in sorted(found, reverse=descending)]
    shown = rest[: page.limit]
    return {
        "data": shown,
        "first_id": shown[0]["path"] if shown else None,
        "last_id": shown[-1]["path"] if shown else None,
        "has_more": len(rest) > page.limit,
    }
