"""A job is answered when it has ended, or when the time is up."""

import threading
import time

import pytest

from app.jobs import control
from app.kit.db import unit_of_work
from app.kit.slots import Slots


def test_who_waits_hears_of_the_end_at_once(client, state, job_id):
    def cancel():
        time.sleep(1.0)
        with unit_of_work(state.sessions) as session:
            control.cancel(session, job_id)

    thread = threading.Thread(target=cancel)
    thread.start()
    began = time.monotonic()
    job = client.get(f"/v1/jobs/{job_id}", params={"wait": 60}).json()
    thread.join()
    assert job["status"] == "cancelled"
    assert time.monotonic() - began < 30.0


def test_when_the_time_is_up_the_job_is_shown_as_it_is(client, job_id):
    began = time.monotonic()
    assert client.get(f"/v1/jobs/{job_id}", params={"wait": 1}).json()["status"] == "queued"
    assert time.monotonic() - began >= 1.0


def test_without_a_place_to_wait_the_answer_comes_at_once(client, state, job_id):
    object.__setattr__(state, "streams", Slots(0, 1))
    began = time.monotonic()
    assert client.get(f"/v1/jobs/{job_id}", params={"wait": 60}).status_code == 200
    assert time.monotonic() - began < 30.0


def test_waiting_gives_its_place_back(client, state, job_id):
    client.get(f"/v1/jobs/{job_id}", params={"wait": 1})
    assert state.streams.taken == 0


@pytest.mark.parametrize("wait", [-1, 61, "long"])
def test_other_times_are_refused(client, job_id, wait):
    response = client.get(f"/v1/jobs/{job_id}", params={"wait": wait})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/wait"
