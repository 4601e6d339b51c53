"""Quotas of a tenant: what goes beyond one is refused by name, and nobody else is concerned."""

import io
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import event, update

from app.access import quotas
from app.jobs import attempts, device_time, leases, reminders, usage
from app.jobs.device_time import month_of
from app.kit.clock import now
from app.kit.db import build_sessions, unit_of_work
from app.kit.tenancy import bound
from app.models import DEFAULT_TENANT, Job, OutboxMessage, Tenant
from dcpi_core.spec.errors import QuotaExceeded
from tests.app.conftest import FOUR_WORDS, nothing_held, queued, upload
from tests.app.test_datasets import archive
from tests.app.test_datasets import upload as send

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


def limit(state, **quotas) -> None:
    with unit_of_work(state.sessions) as session:
        session.execute(update(Tenant).where(Tenant.id == DEFAULT_TENANT).values(**quotas))


def post(client):
    return client.post("/v1/jobs", json=FOUR_WORDS)


def test_no_number_is_no_limit(client):
    assert [post(client).status_code for _ in range(25)] == [202] * 25


def test_a_full_queue_takes_no_more_until_a_job_has_left_it(client, state):
    limit(state, max_queued_jobs=2)
    first = post(client).json()
    assert post(client).status_code == 202
    refused = post(client)
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "60"
    problem = refused.json()
    assert problem["code"] == "quota_exceeded"
    assert problem["errors"][0]["code"] == "max_queued_jobs"
    assert "max_queued_jobs is 2" in problem["detail"]
    client.post(first["urls"]["cancel"])
    assert post(client).status_code == 202


def test_a_retry_needs_the_room_of_a_new_job(client, state):
    first = post(client).json()
    client.post(first["urls"]["cancel"])
    assert post(client).status_code == 202
    limit(state, max_queued_jobs=1)
    refused = client.post(f"/v1/jobs/{first['id']}/retry")
    assert refused.status_code == 429
    assert "max_queued_jobs is 1" in refused.json()["detail"]
    limit(state, max_queued_jobs=2, max_stored_bytes=1)
    refused = client.post(f"/v1/jobs/{first['id']}/retry")
    assert "max_stored_bytes is 1" in refused.json()["detail"]
    assert client.get(f"/v1/jobs/{first['id']}").json()["status"] == "cancelled"
    limit(state, max_stored_bytes=10**9)
    assert client.post(f"/v1/jobs/{first['id']}/retry").status_code == 200


def test_a_paused_job_goes_on_only_while_there_is_device_time(client, state, job_id):
    month, _ = month_of(now())
    with unit_of_work(state.sessions) as session:
        device_time.spend(session, DEFAULT_TENANT, month, month + timedelta(seconds=100))
    assert client.post(f"/v1/jobs/{job_id}/pause").status_code == 200
    limit(state, max_device_seconds=100, max_queued_jobs=0)
    refused = client.post(f"/v1/jobs/{job_id}/resume")
    assert refused.status_code == 429
    assert "max_device_seconds is 100" in refused.json()["detail"]
    limit(state, max_device_seconds=101)
    resumed = client.post(f"/v1/jobs/{job_id}/resume")
    assert resumed.json()["status"] == "queued", "it had its place in the queue before"


def test_a_repeated_request_is_no_further_job(client, state):
    limit(state, max_queued_jobs=1)
    headers = {"Idempotency-Key": "once"}
    found = [client.post("/v1/jobs", json=FOUR_WORDS, headers=headers) for _ in range(2)]
    assert [response.status_code for response in found] == [202, 202]


def test_another_tenants_jobs_do_not_count(client, state):
    limit(state, max_queued_jobs=1)
    with unit_of_work(state.sessions) as session:
        other = Tenant(id="tnt_other", name="other", created_at=now())
        session.add(other)
        session.flush()
        for number in range(3):
            row = queued(f"job_{number}")
            row.tenant_id = other.id
            session.add(row)
    assert post(client).status_code == 202


def test_a_full_storage_takes_neither_jobs_nor_uploads(client, state):
    with unit_of_work(bound(state.sessions, DEFAULT_TENANT)) as session:
        row = upload("ds_1", "pets")
        row.stored_bytes = 1000
        session.add(row)
    limit(state, max_stored_bytes=1000)
    refused = post(client)
    sent = client.post(
        "/v1/datasets", files={"file": ("x.zip", io.BytesIO(b"no zip"))}, data={"name": "more"}
    )
    for response in (refused, sent):
        assert response.status_code == 429
        assert "max_stored_bytes is 1000" in response.json()["detail"]
        assert "Retry-After" not in response.headers
    limit(state, max_stored_bytes=10**9)
    assert post(client).status_code == 202


def test_an_upload_that_does_not_fit_leaves_no_file(client, state):
    """Small as it came, larger as it is kept: known only once it has been read."""
    limit(state, max_stored_bytes=5000)
    refused = send(client, archive())
    assert refused.status_code == 429
    assert state.storage.keys("datasets") == []
    limit(state, max_stored_bytes=10**6)
    assert send(client, archive()).status_code == 201
    (kept,) = state.storage.keys("datasets")
    with unit_of_work(bound(state.sessions, DEFAULT_TENANT)) as session:
        assert quotas.stored_bytes(session) == state.storage.size(kept) > 5000


def test_device_time_is_a_matter_of_the_month(client, state, job_id, monkeypatch):
    monkeypatch.setattr(attempts, "now", lambda: BEGIN + timedelta(days=30))
    monkeypatch.setattr(usage, "now", lambda: BEGIN + timedelta(days=30, seconds=30))
    with unit_of_work(state.sessions) as session:
        assert leases.claim(session, job_id, "worker", 60)
    limit(state, max_device_seconds=31)
    assert post(client).status_code == 202
    limit(state, max_device_seconds=30)
    refused = post(client)
    assert refused.status_code == 429
    assert "max_device_seconds is 30" in refused.json()["detail"]
    assert int(refused.headers["Retry-After"]) == 24 * 3600 - 30  # March has 31 days


def test_deleting_a_job_gives_no_device_time_back(client, state, job_id, monkeypatch):
    limit(state, max_device_seconds=100)
    month, _ = month_of(now())
    with unit_of_work(state.sessions) as session:
        monkeypatch.setattr(attempts, "now", lambda: month)
        lease = leases.claim(session, job_id, "worker", 60)
        monkeypatch.setattr(attempts, "now", lambda: month + timedelta(seconds=500))
        assert leases.fail(session, lease, "x", "y")
    assert post(client).status_code == 429
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    refused = post(client)
    assert refused.status_code == 429
    assert "this would make 501" in refused.json()["detail"]


def test_what_is_asked_of_a_limited_tenant_does_not_grow_with_its_month(client, state):
    """Neither the events of its jobs nor its attempts are read for a submission."""
    limit(state, max_device_seconds=100)
    asked = []
    event.listen(state.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    assert post(client).status_code == 202
    read = [statement for statement in asked if statement.startswith("SELECT")]
    assert any("device_time" in statement for statement in read)
    assert not any("job_events" in statement for statement in read)


HISTORIES = [
    ([], 0),
    ([(10, 25)], 15),
    ([(10, None)], 90),  # still at it
    ([(10, 20), (50, 55)], 15),
    ([(-40, 20)], 20),  # since last month
    ([(-40, -20)], 0),
    ([(-40, -20), (0, 5.5), (95, None)], 10.5),
]


def test_device_time_of_attempts(each_engine, monkeypatch):
    """From when until when workers held a job: a tenant for each history."""
    sessions = build_sessions(each_engine)
    for number, (history, seconds) in enumerate(HISTORIES):
        tenant_id = f"tnt_{number}"
        with unit_of_work(sessions) as session:
            session.add(Tenant(id=tenant_id, name=tenant_id, created_at=now()))
        with unit_of_work(bound(sessions, tenant_id)) as session:
            job = queued(f"job_{number}")
            job.tenant_id = tenant_id
            session.add(job)
        for since, until in history:
            with unit_of_work(sessions) as session:
                monkeypatch.setattr(attempts, "now", partial(after, since))
                lease = leases.claim(session, job.id, "worker", 60)
                monkeypatch.setattr(attempts, "now", partial(after, until))
                if until is not None:
                    leases.hand_over(session, lease)
        with unit_of_work(sessions) as session:
            assert device_time.spent(session, tenant_id, after(100)) == seconds, history


def after(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("moment", "begin", "end"),
    [
        ((2026, 1, 31, 23, 59), (2026, 1, 1), (2026, 2, 1)),
        ((2026, 12, 1), (2026, 12, 1), (2027, 1, 1)),
        ((2028, 2, 29, 12), (2028, 2, 1), (2028, 3, 1)),
    ],
)
def test_months(moment, begin, end):
    found = month_of(datetime(*moment, tzinfo=UTC))
    assert found == (datetime(*begin, tzinfo=UTC), datetime(*end, tzinfo=UTC))


def test_a_tenant_at_its_limit_waits_and_is_called_again(state, client):
    limit(state, max_running_jobs=1)
    first, second = post(client).json()["id"], post(client).json()["id"]

    def claim(job_id):
        with unit_of_work(state.sessions) as session:
            return leases.claim(session, job_id, "worker", 60)

    lease = claim(first)
    assert claim(second) is None
    with unit_of_work(state.sessions) as session:
        held = session.get_one(Job, second)
        assert (held.status, held.attempt) == ("queued", 0)
        assert held.ring_at > now()
        assert leases.fail(session, lease, "x", "y")
        session.execute(update(Job).values(ring_at=now() - timedelta(seconds=1)))
        session.query(OutboxMessage).delete()
    assert reminders.ring_again(state.sessions, 60, nothing_held) == 1
    assert claim(second) is not None


def test_the_last_place_is_taken_once(each_engine):
    """Of many workers that claim and many requests that ask at once, as many as may."""
    sessions = build_sessions(each_engine)
    job_ids = [f"job_{number}" for number in range(8)]
    with unit_of_work(sessions) as session:
        session.add_all(queued(job_id) for job_id in job_ids)
        session.execute(update(Tenant).values(max_running_jobs=3, max_queued_jobs=7))
    running, accepted, refused = [], [], []

    def claim(job_id: str) -> None:
        with unit_of_work(sessions) as session:
            if leases.claim(session, job_id, "worker", 60) is not None:
                running.append(job_id)

    def ask(name: str) -> None:
        try:
            with unit_of_work(bound(sessions, DEFAULT_TENANT)) as session:
                usage.require_room(session, 0)
                session.add(queued(name))
            accepted.append(name)
        except QuotaExceeded:
            refused.append(name)

    at_once([partial(claim, job_id) for job_id in job_ids])
    assert len(running) == 3
    at_once([partial(ask, f"job_new_{number}") for number in range(6)])
    assert (len(accepted), len(refused)) == (2, 4)


def at_once(acts: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=act) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
