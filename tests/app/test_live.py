"""The event stream over a real socket: events come as they happen, and the server can stop."""

import json
import threading
import time

import httpx
import pytest
import uvicorn
from anyio import CapacityLimiter

from app.jobs.events import LOG, append_event
from app.kit.db import unit_of_work
from tests.servers import free_port, wait_until


@pytest.fixture
def address(application):
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
    object.__setattr__(state, "streams", CapacityLimiter(1))
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


def test_a_server_with_open_streams_stops(address, job_id):
    with httpx.Client(timeout=10) as http:
        url = f"{address}/v1/jobs/{job_id}/events"
        request = http.build_request("GET", url, headers={"accept": "text/event-stream"})
        response = http.send(request, stream=True)
        assert response.status_code == 200
        # Left open; the fixture asserts that the server ends all the same.
