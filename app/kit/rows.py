"""New rows, written as they are: for where they come in crowds.

A flush would first sort them and ask for their ids; what the ORM keeps of rows that nobody looks
at again takes longer than the database.
"""

from functools import cache
from typing import Any, cast

from sqlalchemy import BindParameter, Insert, Table, bindparam
from sqlalchemy.orm import Session

from app.kit.tenancy import claim
from app.models import Base

Columns = tuple[type[Base], tuple[str, ...]]
"""Of one row: its table, and those of its columns that are written."""


def insert(session: Session, *rows: Base) -> None:
    """Write new rows, which the session will not know: what is not set takes its default.

    PostgreSQL gets one statement for all of them, and looks at their references when it is done.
    SQLite, which knows no such statement, is in this process and gets one after the other.
    """
    for row in rows:
        claim(session, row)
    connection = session.connection()
    together = connection.dialect.name == "postgresql"
    for group in [rows] if together else [(row,) for row in rows]:
        values = [_values(row) for row in group]
        columns = tuple((type(row), tuple(own)) for row, own in zip(group, values, strict=True))
        given = {_name(n, name): own[name] for n, own in enumerate(values) for name in own}
        connection.execute(_insertion(columns), given)


def _values(row: Base) -> dict[str, Any]:
    defaults, given = _defaults(type(row)), vars(row)
    return defaults | {name: value for name, value in given.items() if name in row.__table__.c}


@cache
def _defaults(kind: type[Base]) -> dict[str, Any]:
    """What a flush would fill in; without this the columns of a statement would not know."""
    known = ((column.name, cast("Any", column.default)) for column in kind.__table__.c)
    return {name: found.arg for name, found in known if found is not None and found.is_scalar}


@cache
def _insertion(columns: tuple[Columns, ...]) -> Insert:
    """The last row is written by the statement itself, others beside it."""
    *others, last = (
        table.insert().inline().values({name: _bound(table, n, name) for name in names})
        for n, (table, names) in enumerate((cast("Table", k.__table__), c) for k, c in columns)
    )
    return last.add_cte(*(other.cte(f"row_{n}") for n, other in enumerate(others)))


def _bound(table: Table, n: int, name: str) -> BindParameter[Any]:
    return bindparam(_name(n, name), type_=table.c[name].type)


def _name(n: int, column: str) -> str:
    return f"{column}_{n}"
