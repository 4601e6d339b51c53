"""Two transactions at once: what one deletes while the other begins to use it, either way round."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from psycopg.errors import DeadlockDetected, SerializationFailure
from sqlalchemy import event, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from app.jobs import control, leases, usage
from app.jobs.submission import submit
from app.kit.app_state import AppState
from app.kit.clock import now
from app.kit.db import unit_of_work
from app.kit.tenancy import bound
from app.main import create_app
from app.migrate import upgrade
from app.models import DEFAULT_TENANT, Condensed, Dataset, Job, Verification, WebhookDelivery
from app.removal import repository, service
from app.settings import Settings
from app.verifications import service as verifications
from app.verifications.schemas import VerificationCreate
from app.webhooks import outbox
from app.webhooks import service as webhooks
from dcpi_core.spec.job import JobSubmission
from tests.app.conftest import FOUR_WORDS, result, serving
from tests.app.conftest import upload as new_upload
from tests.servers import wait_until

WAITING = text(
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
UPLOAD = "ds_" + "0" * 26
ON_UPLOAD = FOUR_WORDS | {"dataset": UPLOAD}


@pytest.fixture
def client(tmp_path, postgres_url) -> Iterator[TestClient]:
    """Of an application on PostgreSQL: SQLite lets one transaction write at a time."""
    settings = Settings(
        home=tmp_path, database_url=postgres_url(), broker_url="redis://127.0.0.1:1/0"
    )
    upgrade(settings.resolved_database_url)
    with serving(create_app(settings)) as client:
        yield client


@pytest.fixture
def pg(client) -> AppState:
    return client.app.state.dcpi


def during(pg: AppState, first: Callable[[Session], object], second: Callable[[], Response]):
    """The answer to a request that is made before ``first`` is committed, and waits if it must."""
    with ThreadPoolExecutor(1) as other:
        with unit_of_work(bound(pg.sessions, DEFAULT_TENANT)) as session:
            first(session)
            asked = other.submit(second)
            wait_until(lambda: asked.done() or _waits(pg), "the other transaction")
        return asked.result()


@contextmanager
def midway(pg: AppState, monkeypatch, where: tuple[object, str], second: Callable[[], object]):
    """Begins ``second`` when ``where`` is next called, which goes on once it is done or waits.

    What comes of it is in the list that is given.
    """
    usual, begun = getattr(*where), []

    def meanwhile(*args, **kwargs):
        monkeypatch.setattr(*where, usual)
        begun.append(other.submit(second))
        wait_until(lambda: begun[0].done() or _waits(pg), "the other transaction")
        return usual(*args, **kwargs)

    with ThreadPoolExecutor(1) as other:
        monkeypatch.setattr(*where, meanwhile)
        yield begun


def _waits(pg: AppState) -> bool:
    with pg.engine.connect() as connection:
        return bool(connection.scalar(WAITING))


def submission(pg: AppState, body: dict) -> Callable[[Session], object]:
    asked = JobSubmission.model_validate(body)
    return lambda session: submit(session, pg.settings, asked)


@pytest.fixture
def made(client, pg) -> Condensed:
    """The result of a job that has ended."""
    job_id = client.post("/v1/jobs", json=FOUR_WORDS).json()["id"]
    row = result(job_id)
    with unit_of_work(pg.sessions) as session:
        assert leases.finish(session, leases.claim(session, job_id, "worker", 60), row)
    return row


@pytest.fixture
def upload(pg) -> str:
    with unit_of_work(bound(pg.sessions, DEFAULT_TENANT)) as session:
        session.add(new_upload(UPLOAD, "pets"))
    return UPLOAD


def urls_of(made: Condensed) -> list[str]:
    return [f"/v1/jobs/{made.job_id}", f"/v1/condensed/{made.id}"]


@pytest.mark.parametrize("what", [0, 1], ids=["job", "set"])
def test_a_result_that_is_just_being_reused_leaves_no_dead_reference(client, pg, made, what):
    url = urls_of(made)[what]
    gone = during(pg, submission(pg, FOUR_WORDS), lambda: client.delete(url))
    assert gone.status_code == 204
    with pg.sessions() as session:
        (job,) = session.scalars(select(Job).where(Job.cached))
        kept = session.get(Condensed, made.id)
    assert job.status == "succeeded"
    if url.startswith("/v1/jobs"):
        assert (job.condensed_id, kept.job_id) == (made.id, job.id)
    else:
        assert (job.condensed_id, kept) == (None, None)


@pytest.mark.parametrize("delete", [service.delete_job, service.delete_condensed])
def test_a_result_that_is_just_being_deleted_is_not_reused(client, pg, made, delete):
    deleted = made.job_id if delete is service.delete_job else made.id
    ask = lambda: client.post("/v1/jobs", json=FOUR_WORDS)  # noqa: E731
    answer = during(pg, lambda session: delete(session, deleted), ask)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")


def test_an_upload_that_a_job_is_just_submitted_on_stays(client, pg, upload):
    ask = lambda: client.delete(f"/v1/datasets/{upload}")  # noqa: E731
    refused = during(pg, submission(pg, ON_UPLOAD), ask)
    assert refused.status_code == 409
    assert "1 jobs on 'pets' have not ended" in refused.json()["detail"]


def test_an_upload_that_is_just_being_deleted_is_unknown(client, pg, upload):
    ask = lambda: client.post("/v1/jobs", json=ON_UPLOAD)  # noqa: E731
    refused = during(pg, lambda session: service.delete_dataset(session, upload), ask)
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_name")


def test_an_upload_whose_job_is_just_being_retried_stays(client, pg, upload):
    job_id = client.post("/v1/jobs", json=ON_UPLOAD).json()["id"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    refused = during(
        pg,
        lambda session: control.retry(session, job_id, from_checkpoint=False),
        lambda: client.delete(f"/v1/datasets/{upload}"),
    )
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "1 jobs on 'pets' have not ended" in refused.json()["detail"]
    with pg.sessions() as session:
        assert session.get_one(Job, job_id).dataset_id == upload


def test_neither_of_a_retry_and_a_deletion_of_its_upload_is_given_up(
    client, pg, upload, monkeypatch
):
    job_id = client.post("/v1/jobs", json=ON_UPLOAD).json()["id"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    delete = lambda: client.delete(f"/v1/datasets/{upload}")  # noqa: E731
    with midway(pg, monkeypatch, (usage, "require_room"), delete) as deleted:
        retried = client.post(f"/v1/jobs/{job_id}/retry")
    assert (retried.status_code, retried.json()["status"]) == (200, "queued")
    assert deleted[0].result().status_code == 409
    with pg.sessions() as session:
        assert session.get_one(Job, job_id).dataset_id == upload


def test_a_job_whose_upload_is_just_being_deleted_is_not_retried(client, pg, upload):
    job_id = client.post("/v1/jobs", json=ON_UPLOAD).json()["id"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    refused = during(
        pg,
        lambda session: service.delete_dataset(session, upload),
        lambda: client.post(f"/v1/jobs/{job_id}/retry"),
    )
    assert refused.status_code == 409
    assert "was deleted" in refused.json()["detail"]


def test_an_upload_is_deleted_while_old_jobs_on_it_are(client, pg, upload, monkeypatch):
    job_ids = []
    for seed in range(2):
        job_ids.append(client.post("/v1/jobs", json=ON_UPLOAD | {"seed": seed}).json()["id"])
        client.post(f"/v1/jobs/{job_ids[-1]}/cancel")
    for days, job_id in zip((40, 41), job_ids, strict=True):  # the last is the oldest
        values = {"finished_at": now() - timedelta(days=days)}
        with unit_of_work(pg.sessions) as session:
            session.execute(update(Job).where(Job.id == job_id).values(values))
    delete = lambda: client.delete(f"/v1/datasets/{upload}")  # noqa: E731
    with (
        midway(pg, monkeypatch, (repository, "delete_history"), delete) as deleted,
        unit_of_work(pg.sessions) as session,
    ):
        assert sorted(service.delete_old(session, 30)) == job_ids
    assert deleted[0].result().status_code == 204


@pytest.fixture
def hook(client) -> str:
    """URL of a webhook endpoint."""
    asked = client.post("/v1/webhook-endpoints", json={"url": "https://hooks.example/"})
    return f"/v1/webhook-endpoints/{asked.json()['id']}"


def told(pg) -> list[str]:
    with pg.sessions() as session:
        return list(session.scalars(select(WebhookDelivery.type)))


def test_an_endpoint_that_is_just_being_told_something_is_deleted_with_it(client, pg, hook):
    job_id = client.post("/v1/jobs", json=FOUR_WORDS).json()["id"]
    cancel = lambda session: control.cancel(session, job_id)  # noqa: E731
    assert during(pg, cancel, lambda: client.delete(hook)).status_code == 204
    assert told(pg) == []
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"


def test_an_endpoint_that_is_just_being_deleted_is_told_nothing(client, pg, hook):
    job_id = client.post("/v1/jobs", json=FOUR_WORDS).json()["id"]

    def delete(session: Session) -> None:
        webhooks.delete(session, hook.rpartition("/")[2])
        session.flush()

    cancelled = during(pg, delete, lambda: client.post(f"/v1/jobs/{job_id}/cancel"))
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert told(pg) == []


def test_of_two_messages_that_an_endpoint_refuses_for_good_both_are_noted(
    client, pg, hook, monkeypatch
):
    for seed in range(2):
        job_id = client.post("/v1/jobs", json=FOUR_WORDS | {"seed": seed}).json()["id"]
        client.post(f"/v1/jobs/{job_id}/cancel")
    first, second = (told["id"] for told in client.get(f"{hook}/deliveries").json()["data"])

    def settle(delivery_id: str) -> None:
        with unit_of_work(pg.sessions) as session:
            outbox.settle(session, delivery_id, outbox.GONE, None)

    with midway(pg, monkeypatch, (outbox, "_disable"), lambda: settle(second)) as other:
        settle(first)
    other[0].result()
    found = client.get(f"{hook}/deliveries").json()["data"]
    assert [(told["tries"], told["last_status"], told["status"]) for told in found] == [
        (1, 410, "failed"),
        (1, 410, "failed"),
    ]
    assert client.get(hook).json()["enabled"] is False


def test_an_endpoint_may_refuse_while_a_message_to_it_is_asked_for_again(
    client, pg, hook, monkeypatch
):
    job_id = client.post("/v1/jobs", json=FOUR_WORDS).json()["id"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    (message,) = client.get(f"{hook}/deliveries").json()["data"]

    def refuse() -> None:
        with unit_of_work(pg.sessions) as session:
            outbox.settle(session, message["id"], outbox.GONE, None)

    refuse()
    again = f"{hook}/deliveries/{message['id']}/redeliver"
    with midway(pg, monkeypatch, (webhooks, "now"), refuse) as other:
        assert client.post(again).status_code == 202
    other[0].result()


def test_a_verification_that_is_just_being_asked_for_goes_with_its_set(client, pg, made):
    def verify(session: Session) -> None:
        verifications.create(session, pg.settings, made.id, VerificationCreate())

    assert during(pg, verify, lambda: client.delete(urls_of(made)[1])).status_code == 204
    with pg.sessions() as session:
        assert session.scalars(select(Condensed)).all() == []
        assert session.scalars(select(Verification)).all() == []
        assert session.scalars(select(Job.status).where(Job.kind == "verify")).all() == [
            "cancelled"
        ]


def test_a_set_that_is_just_being_deleted_is_not_verified(client, pg, made):
    url = f"/v1/condensed/{made.id}/verifications"
    refused = during(
        pg,
        lambda session: service.delete_condensed(session, made.id),
        lambda: client.post(url, json={}),
    )
    assert refused.status_code == 404


def test_a_submission_asks_and_writes_no_oftener(client, pg):
    """Nothing is locked for it in a statement of its own."""
    said = []
    event.listen(pg.engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    assert client.post("/v1/jobs", json=FOUR_WORDS).status_code == 202
    assert len(said) == 2, said


def test_what_the_database_refuses_for_a_reference_is_a_conflict(
    database_url, monkeypatch, tmp_path
):
    settings = Settings(
        home=tmp_path, database_url=database_url, broker_url="redis://127.0.0.1:1/0"
    )
    upgrade(settings.resolved_database_url)
    for name in ("active_jobs_on", "forget_dataset"):
        monkeypatch.setattr(repository, name, lambda *_: 0)
    with serving(create_app(settings)) as client:
        with unit_of_work(bound(client.app.state.dcpi.sessions, DEFAULT_TENANT)) as session:
            session.add(new_upload(UPLOAD, "pets"))
        client.post("/v1/jobs", json=ON_UPLOAD)
        refused = client.delete(f"/v1/datasets/{UPLOAD}")
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert "try again" in refused.json()["detail"]
        with client.app.state.dcpi.sessions() as session:
            assert session.get(Dataset, UPLOAD) is not None


@pytest.mark.parametrize("given_up", [DeadlockDetected, SerializationFailure])
def test_what_the_database_gives_up_for_another_transaction_may_be_tried_again(
    client, monkeypatch, given_up
):
    def fail(*_args, **_kwargs):
        raise OperationalError("UPDATE", {}, given_up("because of another"))

    monkeypatch.setattr(control.repository, "get", fail)
    answer = client.post("/v1/jobs/job_00000000000000000000000000/cancel")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "try again" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) > 0


def test_what_else_the_database_refuses_is_a_bug(client, monkeypatch):
    def twice(*_args):
        raise IntegrityError("INSERT", {}, Exception("duplicate key"))

    monkeypatch.setattr(service.datasets, "by_id_or_name", twice)
    assert client.delete("/v1/datasets/pets").status_code == 500
