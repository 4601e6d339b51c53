"""The API without the servers it needs: it starts, it serves what it can, and it says so."""

import asyncio
import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy.exc import TimeoutError as NoConnection

from app.access import tokens
from app.condensed.registration import object_key
from app.health import ANSWER_SECONDS, Readiness
from app.kit.app_state import SEATS
from app.kit.db import unit_of_work
from app.kit.exposition import render
from app.kit.storage import BODIES
from app.main import create_app
from app.migrate import upgrade
from app.settings import Settings
from dcpi_core.spec.errors import NotFound
from tests.app.conftest import FOUR_WORDS, LOCAL, result, serving
from tests.app.slow_s3 import slow_s3

NOBODY = "http://127.0.0.1:1"
MANY = 45
"""More than the threads that all requests share."""


@pytest.fixture
def silent():
    """Address of a server that takes connections and never says a word."""
    listener = socket.create_server(("127.0.0.1", 0))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


def started(tmp_path, endpoint):
    """An application with nobody at its broker's address, and this at its storage's."""
    settings = Settings(
        home=tmp_path,
        broker_url="redis://127.0.0.1:1/0",
        storage_url="s3://bucket",
        s3_endpoint=endpoint,
        s3_access_key_id="id",
        s3_secret_access_key="secret",
    )
    upgrade(settings.resolved_database_url)
    return TestClient(create_app(settings), LOCAL)


@pytest.mark.parametrize("storage", ["away", "silent"])
def test_without_broker_and_storage_it_starts_reads_and_says_so(tmp_path, silent, storage):
    with started(tmp_path, NOBODY if storage == "away" else silent) as client:
        assert client.get("/healthz").status_code == 200
        began = time.monotonic()
        response = client.get("/readyz")
        assert time.monotonic() - began < 5
        found = response.json()
        assert (response.status_code, found["status"], found["sql"]) == (503, "unavailable", "ok")
        assert found["broker"].startswith("unreachable")
        assert found["storage"].startswith("unreachable")

        job = client.post("/v1/jobs", json=FOUR_WORDS)
        assert job.status_code == 202, "SQL is the truth; workers are rung when the broker is back"
        assert client.get(f"/v1/jobs/{job.json()['id']}").json()["status"] == "queued"
        assert client.get("/v1/jobs").status_code == 200
        assert client.get("/v1/condensed").status_code == 200
        assert client.get("/v1/methods").status_code == 200


def test_what_needs_the_storage_says_that_it_is_away(tmp_path):
    with started(tmp_path, NOBODY) as client:
        state = client.app.state.dcpi
        condensed_id = with_a_report(client, state).id
        response = client.get(f"/v1/condensed/{condensed_id}/files/report.json")
        assert (response.status_code, response.json()["code"]) == (503, "storage_unreachable")
        assert int(response.headers["retry-after"]) > 0
        assert client.get(f"/v1/condensed/{condensed_id}").status_code == 200


def with_a_report(client, state):
    """The row of a condensed set that has one file, of which nothing is stored."""
    job_id = client.post("/v1/jobs", json=FOUR_WORDS).json()["id"]
    file = {"path": "report.json", "bytes": 1, "sha256": "0" * 64, "media_type": "text/plain"}
    row = result(job_id, files=[file])
    with unit_of_work(state.sessions) as session:
        session.add(row)
    return row


class Hanging:
    """A storage that answers once it is told to."""

    def __init__(self) -> None:
        self.go_on, self.asked = threading.Event(), threading.Semaphore(0)

    def size(self, key, part=None):
        self.asked.release()
        self.go_on.wait(60)
        raise NotFound(key)

    exists = send = size


@pytest.mark.parametrize("path", ["files/report.json", "archive", "retry"])
def test_while_the_storage_hangs_the_database_is_free(settings, path):
    upgrade(settings.resolved_database_url)
    application, storage = create_app(settings), Hanging()
    state = application.state.dcpi = replace(application.state.dcpi, storage=storage)
    many = SEATS + 1
    with serving(application) as client, ThreadPoolExecutor(many) as users:
        row = with_a_report(client, state)
        ask = partial(client.get, f"/v1/condensed/{row.id}/{path}")
        if path == "retry":
            ask = partial(client.post, f"/v1/jobs/{row.job_id}/retry")
        hanging = [users.submit(ask) for _ in range(many)]
        try:
            assert all(storage.asked.acquire(timeout=10) for _ in range(many))
            assert client.get("/v1/jobs").status_code == 200
        finally:
            storage.go_on.set()
        for asked in hanging:
            assert asked.result().status_code in (404, 409)


def hung_s3(server, settings, _):
    its = Settings(home=settings.home, broker_url=settings.broker_url, **server.settings)
    return its, server.silent, server.go_on


def hung_disk(_, settings, monkeypatch):
    reading, go_on = threading.Semaphore(0), threading.Event()

    def hang(*_):
        reading.release()
        go_on.wait(60)
        return b""

    monkeypatch.setattr("app.kit.local_files.NOWAIT", None)
    monkeypatch.setattr("app.kit.local_files.os.pread", hang)
    return settings, reading, go_on


@pytest.mark.parametrize("path", ["files/report.json", "archive"])
@pytest.mark.parametrize(("hung", "hanging"), [(hung_s3, MANY), (hung_disk, BODIES)])
def test_answers_that_hang_midway_hold_up_no_others(settings, monkeypatch, hung, hanging, path):
    with slow_s3(pieces=2, silent_after=1) as server, ThreadPoolExecutor(MANY + 2) as users:
        settings, hangs, go_on = hung(server, settings, monkeypatch)
        upgrade(settings.resolved_database_url)
        application = create_app(settings)
        state = application.state.dcpi
        with serving(application) as client:
            row = with_a_report(client, state)
            if hung is hung_disk:
                (settings.home / "in").write_bytes(b"x")
                state.storage.put_file(object_key(row.id, "report.json"), settings.home / "in")
            ask = partial(client.get, f"/v1/condensed/{row.id}/{path}")
            asked = [users.submit(ask) for _ in range(MANY)]
            try:
                assert all(hangs.acquire(timeout=10) for _ in range(hanging))
                ready = users.submit(client.get, "/readyz")
                assert users.submit(client.get, "/v1/jobs").result(5).status_code == 200
                assert ready.result(ANSWER_SECONDS + 2).json()["sql"] == "ok"
            finally:
                go_on.set()
                # An answer without its reader would wait for ever, and the client's loop for it.
                wait(asked, 60)


@pytest.mark.parametrize("auth", ["off", "on"])
def test_without_a_database_it_says_that_it_is_away(auth):
    settings = Settings(
        database_url="postgresql+psycopg://nobody@127.0.0.1:1/none",
        auth=auth,
        key_secret="s" * 32,
    )
    with TestClient(create_app(settings), LOCAL) as client:  # where an error that goes on is raised
        key = tokens.mint("key_" + "0" * 26)
        response = client.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"})
        assert (response.status_code, response.json()["code"]) == (503, "database_unreachable")
        assert int(response.headers["retry-after"]) > 0
        assert client.get("/readyz").json()["sql"].startswith("unreachable")
        counted = render(client.app.state.dcpi.requests.metrics())
        assert 'status="503"} 1' in counted
        assert 'status="500"' not in counted


@pytest.mark.parametrize("auth", ["off", "on"])
def test_without_a_free_connection_it_says_so_too(settings, auth):
    settings = settings.model_copy(update={"auth": auth, "key_secret": SecretStr("s" * 32)})
    upgrade(settings.resolved_database_url)
    application = create_app(settings)
    pool = application.state.dcpi.engine.pool
    pool._timeout = 0.01
    taken = []
    with serving(application) as client:
        with contextlib.suppress(NoConnection):
            while True:
                taken.append(pool.connect())
        key = tokens.mint("key_" + "0" * 26)
        response = client.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"})
        assert (response.status_code, response.json()["code"]) == (503, "database_unreachable")
        for connection in taken:
            connection.close()


def test_a_part_that_hangs_is_asked_once_however_many_want_to_know():
    asked, go_on = [], threading.Event()

    def hang():
        asked.append(1)
        go_on.wait(10)

    ready = Readiness({"storage": hang, "sql": lambda: None})
    for _ in range(3):
        found = asyncio.run(ready.ask(seconds=0.1))
        assert found == {"storage": "unreachable (no answer within 0.1 s)", "sql": "ok"}
    assert len(asked) == 1
    go_on.set()
    assert asyncio.run(ready.ask(seconds=5))["storage"] == "ok"


def test_parts_are_asked_at_the_same_time():
    together = threading.Barrier(2)
    ready = Readiness({"broker": lambda: together.wait(5), "storage": lambda: together.wait(5)})
    assert asyncio.run(ready.ask(seconds=5)) == {"broker": "ok", "storage": "ok"}
