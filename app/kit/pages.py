"""Lists in pages, continued after an identifier: newest first, or by path."""

from collections.abc import Sequence
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import Select

from app.kit.problems import UnknownParameter
from dcpi_core.spec.errors import FieldProblem

Row = TypeVar("Row")
Item = TypeVar("Item")

Limit = Annotated[int, Query(ge=1, le=100)]
After = Annotated[str | None, Query(max_length=200, pattern=r"^[A-Za-z0-9_./-]+$")]
Order = Literal["asc", "desc"]


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    object: Literal["list"] = "list"
    data: list[Item]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = Field(description="whether `after=last_id` would give more")


class PageQuery(BaseModel):
    """Which page is wanted."""

    limit: int
    after: str | None
    order: Order

    def select(self, statement: Select[Any], column: Any) -> Select[Any]:
        """The statement for one row more than the page holds."""
        ascending = self.order == "asc"
        if self.after is not None:
            statement = statement.where(column > self.after if ascending else column < self.after)
        return statement.order_by(column if ascending else column.desc()).limit(self.limit + 1)

    def page(self, rows: Sequence[Row], read: Any) -> dict[str, Any]:
        """Rows found by ``select`` as the answer's fields."""
        shown = rows[: self.limit]
        data = [read(row) for row in shown]
        ids = [row.id for row in shown]  # type: ignore[attr-defined]
        return {
            "object": "list",
            "data": data,
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
            "has_more": len(rows) > self.limit,
        }


def _newest_first(limit: Limit = 20, after: After = None, order: Order = "desc") -> PageQuery:
    return PageQuery(limit=limit, after=after, order=order)


def _by_path(limit: Limit = 20, after: After = None, order: Order = "asc") -> PageQuery:
    return PageQuery(limit=limit, after=after, order=order)


PageQueryDep = Annotated[PageQuery, Depends(_newest_first)]
PathPageQueryDep = Annotated[PageQuery, Depends(_by_path)]


async def only_known_parameters(request: Request) -> None:
    """Refuse query parameters that the operation does not have: a misspelt filter filters nothing.

    Raises:
        UnknownParameter: names the parameter and those that exist.
    """
    route = request.scope["route"]
    known = {field.alias for field in _query_fields(route.dependant)}
    for name in request.query_params:
        if name not in known:
            allowed = ", ".join(sorted(known)) or "none"
            message = f"unknown query parameter {name!r}; allowed: {allowed}"
            raise UnknownParameter(message, [FieldProblem(f"/{name}", "unknown", message)])


def _query_fields(dependant: Any) -> list[Any]:
    found = list(dependant.query_params)
    for part in dependant.dependencies:
        found += _query_fields(part)
    return found
