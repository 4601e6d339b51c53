import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from app.jobs import leases
from app.jobs.events import LOG, append_event, events_after
from app.jobs.stream import stream
from app.jobs.tail import Watch
from app.kit.app_state import SEATS
from app.kit.clock import now
from app.kit.db import unit_of_work
from app.main import create_app
from app.migrate import upgrade
from app.models import IdempotencyKey, Tenant
from app.settings import Settings
from tests.app.conftest import FOUR_WORDS, LOCAL, serving


def test_four_words_are_accepted_and_resolved(client):
    response = client.post("/v1/jobs", json=FOUR_WORDS)
    job = response.json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"/v1/jobs/{job['id']}" == job["urls"]["self"]
    assert job["status"] == "queued"
    assert (job["images_per_class"], job["num_images"]) == (1, 10)
    assert job["spec"]["base_method"]["options"]["image_learning_rate"] == 0.1
    assert job["estimate"]["bytes"]["images"] == 10 * 64 * 4
    assert client.get(response.headers["Location"]).json() == job


@pytest.mark.parametrize(
    ("changes", "pointer", "allowed"),
    [
        ({"dataset": "cifar11"}, "/dataset", "cifar10"),
        ({"base_method": "dcx"}, "/base_method", "herding"),
        ({"pi_type": "features"}, "/pi_type", "feature"),
        ({"fraction": 0}, "/fraction", "(0, 1]"),
        ({"fraction": 1.5}, "/fraction", "(0, 1]"),
        ({"fraction": 0.0001}, "/fraction", "smallest possible fraction"),
        ({"fraction": "many"}, "/fraction", "percentage"),
        ({"fracton": 0.1}, "/fracton", "allowed: dataset, fraction, images_per_class"),
        ({"seed": -1}, "/seed", "greater than or equal to 0"),
        ({"seed": 2**31}, "/seed", "less than"),
        ({"dataset": "a\x00b"}, "/dataset", "NUL"),
        ({"options": {"base": {"iterations": "x"}}}, "/options/base/iterations", "integer"),
        ({"options": {"base": {"steps": 1}}}, "/options/base", "iterations"),
        ({"options": {"evaluation": {"repeats": 0}}}, "/options/evaluation/repeats", "1"),
        (
            {"options": {"evaluation": {"controls": ["noise", "placebo"]}}},
            "/options/evaluation/controls/1",
            "'equal_bytes', 'equal_steps', 'random_privileged', 'permuted', 'noise'",
        ),
    ],
)
def test_bad_requests_name_the_field_and_what_is_allowed(client, changes, pointer, allowed):
    response = client.post("/v1/jobs", json=FOUR_WORDS | changes)
    problem = response.json()
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert allowed in json.dumps(problem["errors"])
    assert client.get("/v1/jobs").json()["data"] == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"fraction": NaN}', b"\xff\xfe", b'{"dataset": 1}']
)
def test_bodies_that_are_no_request_are_problems_too(client, body):
    response = client.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["request_id"] == response.headers["X-Request-Id"]


def test_more_images_than_the_service_allows_are_refused(client):
    body = FOUR_WORDS | {"dataset": "cifar10", "fraction": 1.0, "base_method": "random"}
    assert client.post("/v1/jobs", json=body).status_code == 202
    small = client.app.state.dcpi.settings.model_copy(update={"max_images": 100})
    object.__setattr__(client.app.state.dcpi, "settings", small)
    problem = client.post("/v1/jobs", json=body).json()
    assert problem["errors"][0]["code"] == "budget_too_large"


def test_a_repeated_request_gets_the_first_answer(client):
    headers = {"Idempotency-Key": "once"}
    first = client.post("/v1/jobs", json=FOUR_WORDS, headers=headers)
    again = client.post("/v1/jobs", json=FOUR_WORDS, headers=headers)
    other = client.post("/v1/jobs", json=FOUR_WORDS | {"seed": 1}, headers=headers)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert other.status_code == 422
    assert other.json()["errors"][0]["code"] == "idempotency_key_reused"
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_an_accepted_request_is_repeated_even_where_it_would_be_refused_by_now(client, settings):
    body, headers = FOUR_WORDS | {"fraction": "1.4%"}, {"Idempotency-Key": "before"}
    first = client.post("/v1/jobs", json=body, headers=headers)
    assert first.json()["num_images"] == 20
    stricter = settings.model_copy(update={"max_images": 10})
    with TestClient(create_app(stricter), LOCAL) as later:
        assert later.post("/v1/jobs", json=body).status_code == 422
        again = later.post("/v1/jobs", json=body, headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"


def test_twins_at_the_same_moment_make_one_job(database_url, tmp_path):
    settings = Settings(
        home=tmp_path, database_url=database_url, broker_url="redis://127.0.0.1:1/0"
    )
    upgrade(settings.resolved_database_url)
    headers = {"Idempotency-Key": "twins"}
    with serving(create_app(settings)) as client, ThreadPoolExecutor(6) as users:
        submit = lambda _: client.post("/v1/jobs", json=FOUR_WORDS, headers=headers)  # noqa: E731
        answers = list(users.map(submit, range(6)))
        assert [answer.status_code for answer in answers] == [202] * 6
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert len(client.get("/v1/jobs").json()["data"]) == 1


@pytest.mark.parametrize("limit", [None, 1000])
def test_many_users_of_a_tenant_submit_at_once(limit, tmp_path, postgres_url):
    """Each holds the tenant's key by the rows it writes, and asks for the tenant's quota."""
    settings = Settings(
        home=tmp_path, database_url=postgres_url(), broker_url="redis://127.0.0.1:1/0"
    )
    upgrade(settings.resolved_database_url)
    app = create_app(settings)
    with unit_of_work(app.state.dcpi.sessions) as session:
        session.execute(update(Tenant).values(max_queued_jobs=limit))

    def submit(number: int) -> int:
        headers = {"Idempotency-Key": f"user-{number}"}
        job = FOUR_WORDS | {"seed": number}
        return client.post("/v1/jobs", json=job, headers=headers).status_code

    with serving(app) as client, ThreadPoolExecutor(8) as users:
        assert set(users.map(submit, range(40))) == {202}


def test_a_key_is_forgotten_after_a_day_and_never_kept_by_a_refusal(client, state):
    headers = {"Idempotency-Key": "again"}
    bad = client.post("/v1/jobs", json=FOUR_WORDS | {"base_method": "dcx"}, headers=headers)
    first = client.post("/v1/jobs", json=FOUR_WORDS, headers=headers)
    assert (bad.status_code, first.status_code) == (422, 202)
    with unit_of_work(state.sessions) as session:
        session.execute(update(IdempotencyKey).values(created_at=now() - timedelta(hours=25)))
    later = client.post("/v1/jobs", json=FOUR_WORDS, headers=headers)
    assert later.json()["id"] != first.json()["id"]


def test_filters_by_state_and_time(client):
    made = client.post("/v1/jobs", json=FOUR_WORDS).json()
    count = lambda **filters: len(client.get("/v1/jobs", params=filters).json()["data"])  # noqa: E731
    assert count(status="running,queued") == 1
    assert count(status=["running", "canceled"]) == 0
    assert client.get("/v1/jobs", params={"status": "done"}).status_code == 422
    before = datetime.fromisoformat(made["created_at"]) - timedelta(seconds=1)
    after = before + timedelta(seconds=60)
    east = timezone(timedelta(hours=14))
    for moment, expected in ((before, 1), (after, 0)):
        assert count(created_after=moment.isoformat()) == expected
        assert count(created_after=moment.astimezone(east).isoformat()) == expected
    assert (
        client.get("/v1/jobs", params={"created_after": "0001-01-01T00:00:00+14:00"}).status_code
        == 422
    )


def test_an_estimate_starts_nothing(client):
    found = client.post("/v1/jobs/estimate", json=FOUR_WORDS).json()
    assert found["bytes"]["total"] == sum(
        size for part, size in found["bytes"].items() if part != "total"
    )
    assert found["seconds"]["cpu"][0] < found["seconds"]["cpu"][1]
    assert client.get("/v1/jobs").json()["data"] == []


def test_pages_hold_everything_once(client):
    made = [client.post("/v1/jobs", json=FOUR_WORDS | {"seed": i}).json()["id"] for i in range(5)]
    seen, after = [], None
    while True:
        page = client.get("/v1/jobs", params={"limit": 2} | ({"after": after} if after else {}))
        seen += [job["id"] for job in page.json()["data"]]
        after = page.json()["last_id"]
        if not page.json()["has_more"]:
            break
    assert sorted(seen) == sorted(made)
    assert len(set(seen)) == 5


def test_filters_filter_and_unknown_ones_are_refused(client):
    client.post("/v1/jobs", json=FOUR_WORDS)
    client.post("/v1/jobs", json=FOUR_WORDS | {"pi_type": ["soft", "feature"]})
    count = lambda **filters: len(client.get("/v1/jobs", params=filters).json()["data"])  # noqa: E731
    assert count(pi_type="soft") == 1
    assert count(pi_type="feature") == 2
    assert count(pi_type="feat") == 0
    assert count(status="queued") == 2
    assert count(status="running") == 0
    assert count(dataset="digits", base_method="dc") == 2
    response = client.get("/v1/jobs", params={"datset": "digits"})
    assert (response.status_code, response.json()["code"]) == (400, "unknown_parameter")
    assert "dataset" in response.json()["detail"]


def test_cancelling_a_queued_job_ends_it_and_again_changes_nothing(client, job_id):
    for _ in range(2):
        response = client.post(f"/v1/jobs/{job_id}/cancel")
        assert (response.status_code, response.json()["status"]) == (200, "cancelled")
    events = client.get(f"/v1/jobs/{job_id}/events").json()["data"]
    assert [event["data"]["status"] for event in events] == ["queued", "cancelled"]


def test_cancelling_a_running_job_asks_its_worker(client, state, job_id):
    with unit_of_work(state.sessions) as session:
        lease = leases.claim(session, job_id, "worker", 60)
    assert client.post(f"/v1/jobs/{job_id}/cancel").json()["status"] == "cancelling"
    with unit_of_work(state.sessions) as session:
        assert leases.heartbeat(session, lease) is leases.Wanted.CANCEL
        assert leases.cancelled(session, lease)
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"


def read_stream(client, job_id, **headers):
    response = client.get(
        f"/v1/jobs/{job_id}/events", headers={"accept": "text/event-stream"} | headers
    )
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = [block for block in response.text.split("\n\n") if block]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


def test_the_stream_resumes_after_the_last_event_and_closes_at_the_end(client, state, job_id):
    with unit_of_work(state.sessions) as session:
        for number in range(3):
            append_event(session, job_id, LOG, {"message": f"line {number}"})
    client.post(f"/v1/jobs/{job_id}/cancel")
    whole = read_stream(client, job_id)
    assert [event["event"] for event in whole] == ["status", "log", "log", "log", "status", "end"]
    rest = read_stream(client, job_id, **{"last-event-id": "3"})
    assert [event["id"] for event in rest] == ["4", "5", "5"]
    assert rest == whole[3:]
    assert json.loads(whole[-1]["data"])["status"] == "cancelled"


def test_ids_that_do_not_exist_are_not_found(client):
    missing = "job_" + "0" * 26
    for path in (f"/v1/jobs/{missing}", f"/v1/jobs/{missing}/events"):
        response = client.get(path)
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert client.post(f"/v1/jobs/{missing}/cancel").status_code == 404
    assert client.get("/v1/jobs/anything-else").status_code == 422


def test_streams_that_begin_together_take_seats(state, job_id, monkeypatch):
    lock, inside, most = threading.Lock(), 0, 0

    def slow(*arguments):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.1)
        with lock:
            inside -= 1
        return events_after(*arguments)

    async def together() -> None:
        streams = [stream(state, job_id, 0, Watch()) for _ in range(3 * SEATS)]
        await asyncio.gather(*(anext(one) for one in streams))
        for one in streams:
            await one.aclose()

    monkeypatch.setattr("app.jobs.stream.events_after", slow)
    asyncio.run(together())
    assert most == SEATS
