"""The database: engine, sessions, and the unit of work that commits them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection, Dialect, Engine, Select, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.orm import Session, sessionmaker

from app.kit import tenancy

SessionFactory = Callable[[], Session]

POSTGRES = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds
}
"""A server that is gone without a word is noticed within half a lease, not after hours. Options of
the same names in the URL count more."""

CONNECTIONS = 15
"""Of an engine at most, all of them kept: PostgreSQL forks a process for a new one, which costs
more than a whole request does. The pool's own choice is to keep five, and to close others after
use."""

IDLE_SECONDS = 2.0
"""A connection that was idle for so long is tried before it is used again. One that was in use a
moment ago would only cost a request another round trip for each of its transactions."""
_RETURNED = "dcpi_returned"

KEPT: dict[str, Any] = {"read": True, "key_share": True}
"""``with_for_update`` of a row that what is written next refers to: until the commit it can be
changed, not deleted, and whoever is to delete it waits. SQLite lets only one write at a time."""

READ_ONLY = "dcpi_read_only"
"""Execution option of a connection whose transaction will write nothing."""


def build_engine(url: str) -> Engine:
    """An engine for SQLite or PostgreSQL; SQLite gets a file that several processes can share."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        given = set(parsed.query)
        options = {name: value for name, value in POSTGRES.items() if name not in given}
        engine = create_engine(
            url,
            connect_args=options,
            json_serializer=_json,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_use_lifo=True,  # the one used last is warm, and need not be tried
        )
        event.listen(engine, "checkin", _note_return)
        event.listen(engine, "checkout", partial(_require_alive, engine.dialect))
        return engine
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": 30}, json_serializer=_json)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def build_sessions(engine: Engine) -> sessionmaker[Session]:
    """Sessions whose objects stay readable after the commit; they see the rows of all tenants."""
    sessions = sessionmaker(engine, expire_on_commit=False)
    tenancy.guard(sessions)
    return sessions


@contextmanager
def unit_of_work(sessions: SessionFactory) -> Iterator[Session]:
    """One transaction: committed at the end, rolled back on any error. Nothing else commits."""
    with sessions() as session, session.begin():
        yield session


@contextmanager
def reading(sessions: SessionFactory) -> Iterator[Session]:
    """One transaction that only looks. On SQLite it neither waits for a writer nor blocks one."""
    with sessions() as session:
        session.connection(execution_options={READ_ONLY: True})
        yield session


def finds(sessions: SessionFactory, statement: Select[Any]) -> bool:
    """Whether there is a row; asked before a change: looking does not lock an SQLite database."""
    with reading(sessions) as session:
        return session.scalars(statement.limit(1)).first() is not None


@contextmanager
def single_statement(engine: Engine) -> Iterator[Connection]:
    """A connection for one statement that is a transaction of its own.

    PostgreSQL commits such a statement by itself: one round trip in place of three.
    """
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            yield connection.execution_options(isolation_level="AUTOCOMMIT")
            return
        with connection.begin():
            yield connection


def _json(value: Any) -> str:
    """As ``json.dumps``, in a third of its time; NaN is left for the database to refuse."""
    return to_json(value, inf_nan_mode="constants").decode()


def _note_return(_connection: Any, record: Any) -> None:
    record.info[_RETURNED] = time.monotonic()


def _require_alive(dialect: Dialect, connection: Any, record: Any, _proxy: Any) -> None:
    """Have the pool replace a connection whose server is gone, and all that are older."""
    returned = record.info.get(_RETURNED)
    if returned is None or time.monotonic() - returned < IDLE_SECONDS:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, see below
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that first reads and then writes would fail where another has written between,
    # so it takes the lock at once.
    only_looks = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if only_looks else "BEGIN IMMEDIATE")
