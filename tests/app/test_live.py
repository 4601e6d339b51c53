"""The event stream over a real socket: events come as they happen, and the server can stop."""

import contextlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import uvicorn
from pydantic import SecretStr
from sqlalchemy import event, update

from app.access import tokens
from app.jobs.events import LOG, append_event
from app.jobs.tail import POLL_SECONDS
from app.kit.clock import now
from app.kit.db import unit_of_work
from app.kit.slots import Slots
from app.main import create_app
from app.migrate import upgrade
from app.models import ApiKey
from tests.app.access import SECRET, bearer, new_key
from tests.app.conftest import FOUR_WORDS
from tests.servers import free_port, wait_until

KEYED = {"auth": "on", "key_secret": SecretStr(SECRET)}
DEFAULT_TENANT_NAME = "default"


@pytest.fixture
def address(application):
    with _served(application) as address:
        yield address


@pytest.fixture
def live():
    """Serves an application with other settings; returns its state and address."""
    with contextlib.ExitStack() as opened:

        def serve(settings):
            upgrade(settings.resolved_database_url)
            application = create_app(settings)
            address = opened.enter_context(_served(application))
            return application.state.dcpi, address

        yield serve


def row_of(token):
    return tokens.id_in(token)


@contextlib.contextmanager
def _served(application):
    port = free_port()
    config = uvicorn.Config(
        application, port=port, log_level="error", timeout_graceful_shutdown=1, ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, "the server", 10)
    yield f"http://127.0.0.1:{port}"
    began = time.monotonic()
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()
    assert time.monotonic() - began < 5


def test_events_come_live_and_a_new_connection_goes_on_after_the_last(address, state, job_id):
    url = f"{address}/v1/jobs/{job_id}/events"
    accept = {"accept": "text/event-stream"}

    def log(message):
        with unit_of_work(state.sessions) as session:
            append_event(session, job_id, LOG, {"message": message})

    def messages(lines, count):
        found = []
        while len(found) < count:
            line = next(lines)
            if line.startswith("data: "):
                found.append(json.loads(line[6:]))
        return found

    with httpx.Client(timeout=10) as http:
        with http.stream("GET", url, headers=accept) as response:
            lines = response.iter_lines()
            assert messages(lines, 1) == [{"status": "queued"}]
            log("one")
            assert messages(lines, 1) == [{"message": "one"}]
        log("two")  # nobody listens
        with http.stream("GET", url, headers=accept | {"last-event-id": "2"}) as response:
            lines = response.iter_lines()
            assert messages(lines, 1) == [{"message": "two"}]
            http.post(f"{address}/v1/jobs/{job_id}/cancel")
            rest = messages(lines, 2)
            assert [event["status"] for event in rest] == ["cancelled", "cancelled"]
            assert "data: " not in "".join(lines)  # closed by the server


def test_streams_beyond_the_limit_are_refused_for_now(address, state, job_id):
    object.__setattr__(state, "streams", Slots(1, 1))
    url = f"{address}/v1/jobs/{job_id}/events"
    accept = {"accept": "text/event-stream"}

    def status(http):
        with http.stream("GET", url, headers=accept) as response:
            if response.status_code == 503:
                response.read()
            return response

    with httpx.Client(timeout=10) as http:
        with http.stream("GET", url, headers=accept) as first:
            lines = first.iter_lines()  # kept, or it would close the stream
            next(lines)
            refused = status(http)
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) > 0
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.json()["code"] == "too_many_streams"
            assert http.get(url).status_code == 200, "a page takes no place"
        wait_until(lambda: status(http).status_code == 200, "a free place", 10)


def test_a_key_has_so_many_streams_and_loses_them_when_it_is_revoked(live, settings, tmp_path):
    state, address = live(settings.model_copy(update=KEYED | {"streams_per_key": 2}))
    one, other = (new_key(state, DEFAULT_TENANT_NAME, "write") for _ in range(2))
    accept = {"accept": "text/event-stream"}
    with httpx.Client(base_url=address, timeout=10) as http, contextlib.ExitStack() as opened:
        job = http.post("/v1/jobs", json=FOUR_WORDS, headers=bearer(one)).json()
        url = job["urls"]["events"]

        def follow(key):
            stream = http.stream("GET", url, headers=accept | bearer(key))
            return opened.enter_context(stream)

        streams = [follow(one), follow(one)]
        refused = follow(one)
        refused.read()
        assert refused.status_code == 429
        assert refused.json()["errors"][0]["code"] == "streams_per_key"
        assert int(refused.headers["retry-after"]) > 0
        kept = follow(other).iter_lines()
        assert next(kept)

        assert "2" in refused.json()["detail"]
        with unit_of_work(state.sessions) as session:
            session.execute(update(ApiKey).where(ApiKey.id == row_of(one)).values(revoked_at=now()))
        for stream in streams:
            assert "end" not in "".join(stream.iter_lines())  # closed by the server
        with unit_of_work(state.sessions) as session:
            append_event(session, job["id"], LOG, {"message": "later"})
        assert any("later" in line for line in kept), "another key's stream goes on"


def test_a_request_that_waits_takes_a_place_of_its_key(live, settings):
    state, address = live(settings.model_copy(update=KEYED | {"streams_per_key": 1}))
    key = bearer(new_key(state, DEFAULT_TENANT_NAME, "write"))
    with httpx.Client(base_url=address, timeout=20) as http, ThreadPoolExecutor() as pool:
        url = f"/v1/jobs/{http.post('/v1/jobs', json=FOUR_WORDS, headers=key).json()['id']}"
        waiting = pool.submit(http.get, url, params={"wait": 60}, headers=key, timeout=90)
        wait_until(lambda: state.streams.taken == 1, "a request that waits", 10)
        refused = http.get(f"{url}/events", headers=key | {"accept": "text/event-stream"})
        assert refused.status_code == 429
        assert http.get(url, params={"wait": 60}, headers=key).status_code == 200, "at once"
        assert not waiting.done()
        http.post(f"{url}/cancel", headers=key)
        assert waiting.result().json()["status"] == "cancelled"


def test_streams_of_a_job_share_one_look_at_it(address, state, job_id):
    """However many follow it, an event is read from the database once."""
    reads = []
    watched = lambda *args: reads.append(args[2]) if "FROM job_events" in args[2] else None  # noqa: E731
    headers = {"accept": "text/event-stream"}
    with httpx.Client(timeout=10) as http, contextlib.ExitStack() as opened:
        url = f"{address}/v1/jobs/{job_id}/events"
        followers = [
            opened.enter_context(http.stream("GET", url, headers=headers)).iter_lines()
            for _ in range(8)
        ]
        for lines in followers:
            next(line for line in lines if line.startswith("data: "))
        time.sleep(4 * POLL_SECONDS)
        event.listen(state.engine, "before_cursor_execute", watched)
        with unit_of_work(state.sessions) as session:
            append_event(session, job_id, LOG, {"message": "once"})
        for lines in followers:
            assert next(line for line in lines if "once" in line)
        event.remove(state.engine, "before_cursor_execute", watched)
    assert len(reads) == 1


def test_a_server_with_open_streams_stops(address, job_id):
    with httpx.Client(timeout=10) as http:
        url = f"{address}/v1/jobs/{job_id}/events"
        request = http.build_request("GET", url, headers={"accept": "text/event-stream"})
        response = http.send(request, stream=True)
        assert response.status_code == 200
        # Left open; the fixture asserts that the server ends all the same.
