"""The engine: a database that is gone without a word is noticed, and connections are kept."""

from contextlib import ExitStack

import pytest
from sqlalchemy import Engine, event, text

from app.kit.app_state import SEATS
from app.kit.db import CONNECTIONS, build_engine


def options(url: str) -> dict:
    """What the driver would be given; nothing is connected."""
    engine, given = build_engine(url), {}

    @event.listens_for(engine, "do_connect")
    def look(dialect, record, arguments, parameters):
        given.update(parameters)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        engine.connect()
    return given


def test_a_server_that_is_gone_is_noticed_within_a_lease():
    found = options("postgresql+psycopg://dcpi@nowhere/dcpi")
    silence = found["keepalives_idle"] + found["keepalives_interval"] * found["keepalives_count"]
    assert found["connect_timeout"] <= 10
    assert found["keepalives"] == 1
    assert silence <= 30
    assert found["tcp_user_timeout"] <= 30_000


def test_the_url_has_the_last_word():
    found = options("postgresql+psycopg://dcpi@nowhere/dcpi?connect_timeout=17&keepalives=0")
    assert (int(found["connect_timeout"]), int(found["keepalives"])) == (17, 0)


def test_a_real_server_takes_these_options(postgres_url):
    engine = build_engine(postgres_url())
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    engine.dispose()


def test_as_many_connections_are_kept_as_requests_use_at_once(postgres_url):
    engine = build_engine(postgres_url())
    assert SEATS < CONNECTIONS
    assert servers_of(engine, SEATS) == servers_of(engine, SEATS)
    engine.dispose()


def servers_of(engine: Engine, count: int) -> set[int]:
    """Process ids of PostgreSQL's end of so many connections at once."""
    with ExitStack() as stack:
        open_ = [stack.enter_context(engine.connect()) for _ in range(count)]
        return {connection.scalar(text("SELECT pg_backend_pid()")) for connection in open_}
