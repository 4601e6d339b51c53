"""Deleted means gone: the rows, the objects, the answers kept for repeated requests."""

from datetime import timedelta

import pytest
from obstore.exceptions import GenericError
from sqlalchemy import func, select, update

from app.condensed.registration import object_key
from app.jobs import checkpoints, leases, leftovers
from app.kit import erasure
from app.kit.clock import now
from app.kit.db import unit_of_work
from app.kit.storage import Storage
from app.models import DEFAULT_TENANT, Dataset, Erasure, IdempotencyKey, Job
from app.models import Base as Tables
from app.removal import service
from dcpi_core.spec.catalog import load_catalog
from tests.app.conftest import FOUR_WORDS, result

SECRET = "my own title"
STAYING = {"tenants", "device_time"}
"""Who owned things, and how much time they spent on them."""


@pytest.fixture
def put(state, tmp_path):
    def store(key):
        file = tmp_path / "object"
        file.write_bytes(b"content")
        state.storage.put_file(key, file)

    return store


def carry_out(state) -> int:
    return erasure.carry_out(state.sessions, state.storage, leftovers.due())


def everything(state) -> list[str]:
    return [
        key for part in ("condensed", "checkpoints", "datasets") for key in state.storage.keys(part)
    ]


def rows(state) -> dict[str, int]:
    with state.sessions() as session:
        counts = {
            table.name: session.scalar(select(func.count()).select_from(table))
            for table in Tables.metadata.sorted_tables
            if table.name not in STAYING
        }
    return {name: count for name, count in counts.items() if count}


def finished(client, state, put, **changes) -> str:
    """A job with a title, an idempotency key, a checkpoint and a result of two files."""
    body = FOUR_WORDS | {"name": SECRET, "cache": "ignore"} | changes
    job_id = client.post(
        "/v1/jobs", json=body, headers={"Idempotency-Key": f"seed-{changes.get('seed', 0)}"}
    ).json()["id"]
    row = result(job_id)
    with unit_of_work(state.sessions) as session:
        leases.finish(session, leases.claim(session, job_id, "worker", 60), row)
    for path in ("data.safetensors", "previews/grid.png"):
        put(object_key(row.id, path))
    put(checkpoints.key_of(job_id))
    return job_id


def test_a_deleted_job_leaves_nothing(client, state, put):
    job_id = finished(client, state, put)
    other = finished(client, state, put, seed=1)
    before = rows(state)
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 404
    assert carry_out(state) == 2
    assert len(everything(state)) == 3, "of the other job"
    assert client.delete(f"/v1/jobs/{other}").status_code == 204
    carry_out(state)
    assert (everything(state), rows(state)) == ([], {})
    assert {"jobs", "condensed", "job_events", "attempts", "outbox", "idempotency_keys"} <= set(
        before
    )


def test_an_answer_that_an_older_version_kept_is_forgotten_too(client, state, put):
    job_id = finished(client, state, put)
    with unit_of_work(state.sessions) as session:
        assert session.scalars(select(IdempotencyKey.object_id)).all() == [job_id]
        session.execute(update(IdempotencyKey).values(object_id=None))
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert "idempotency_keys" not in rows(state)


def test_a_job_that_has_not_ended_is_not_deleted(client, job_id):
    response = client.delete(f"/v1/jobs/{job_id}")
    assert (response.status_code, response.json()["code"]) == (409, "conflict")
    assert "cancel it first" in response.json()["detail"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204


def test_a_storage_that_is_away_keeps_nothing_in_the_end(client, state, put, monkeypatch):
    job_id = finished(client, state, put)
    delete = Storage.delete

    def away(storage, key):
        if key.endswith("grid.png"):
            raise ConnectionError("away")
        delete(storage, key)

    monkeypatch.setattr(Storage, "delete", away)
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert carry_out(state) == 1, "the checkpoint is gone"
    monkeypatch.setattr(Storage, "delete", delete)
    assert carry_out(state) == 1
    assert (everything(state), rows(state)) == ([], {})


def noted(state, count: int) -> None:
    with unit_of_work(state.sessions) as session:
        for number in range(count):
            erasure.erase(session, f"datasets/{number}")
            session.flush()


def still_noted(state) -> list[str]:
    with state.sessions() as session:
        keys = session.scalars(select(Erasure.key).order_by(Erasure.id))
        return [key.split("/")[1] for key in keys]


def test_a_storage_that_does_not_answer_is_asked_once_a_round(state, monkeypatch):
    asked = []

    def away(storage, key):
        asked.append(key)
        raise GenericError("nobody there")

    monkeypatch.setattr(Storage, "delete", away)
    noted(state, 3)
    with state.sessions() as session:
        since = session.scalars(select(Erasure.due_at).order_by(Erasure.id)).first()
    assert carry_out(state) == 0
    assert asked == ["datasets/0"]
    assert still_noted(state) == ["1", "2", "0"], "another one is asked for next"
    with state.sessions() as session:
        assert min(session.scalars(select(Erasure.due_at))) == since


def test_what_is_refused_again_and_again_does_not_block_the_rest(state, monkeypatch):
    def refuses_some(storage, key):
        if key < "datasets/3":
            raise PermissionError("no")

    monkeypatch.setattr(Storage, "delete", refuses_some)
    monkeypatch.setattr(erasure, "BATCH", 2)
    noted(state, 5)
    done = [carry_out(state) for _ in range(3)]
    assert (sum(done), sorted(still_noted(state))) == (2, ["0", "1", "2"])


def test_a_slow_storage_is_left_after_a_while(state, monkeypatch):
    monkeypatch.setattr(erasure, "ROUND_SECONDS", 0.0)
    noted(state, 3)
    assert carry_out(state) == 1
    assert still_noted(state) == ["1", "2"]


def test_a_shared_result_stays_until_its_last_job_is_deleted(client, state, put):
    first = finished(client, state, put)
    second = client.post("/v1/jobs", json=FOUR_WORDS).json()
    assert second["cached"]
    client.delete(f"/v1/jobs/{first}")
    carry_out(state)
    result = client.get(f"/v1/condensed/{second['result']['condensed_id']}").json()
    assert result["job_id"] == second["id"]
    assert len(everything(state)) == 2
    client.delete(f"/v1/jobs/{second['id']}")
    carry_out(state)
    assert (everything(state), rows(state)) == ([], {})


def test_a_deleted_result_is_gone_and_not_reused(client, state, put):
    job_id = finished(client, state, put)
    condensed = client.get(f"/v1/jobs/{job_id}").json()["result"]["condensed_id"]
    assert client.delete(f"/v1/condensed/{condensed}").status_code == 204
    carry_out(state)
    assert everything(state) == [checkpoints.key_of(job_id)]
    assert client.get(f"/v1/condensed/{condensed}").status_code == 404
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert (job["status"], job["result"]) == ("succeeded", None)
    assert client.post("/v1/jobs", json=FOUR_WORDS).json()["status"] == "queued"


@pytest.fixture
def upload(state, put):
    facts = load_catalog().datasets["digits"].model_dump(mode="json") | {"name": "pets"}
    row = Dataset(
        tenant_id=DEFAULT_TENANT,
        id="ds_" + "0" * 26,
        name="pets",
        facts=facts,
        archive_sha256="0" * 64,
        size_bytes=1,
        stored_bytes=1,
        storage_key="datasets/ds_1.safetensors",
        created_at=now(),
    )
    with unit_of_work(state.sessions) as session:
        session.add(row)
    put(row.storage_key)
    return row.id


@pytest.mark.parametrize("by", ["name", "id"])
def test_a_deleted_upload_is_gone_and_its_name_is_free(client, state, upload, by):
    job_id = client.post("/v1/jobs", json=FOUR_WORDS | {"dataset": "pets"}).json()["id"]
    wanted = "pets" if by == "name" else upload
    assert client.delete(f"/v1/datasets/{wanted}").status_code == 409
    client.post(f"/v1/jobs/{job_id}/cancel")
    assert client.delete(f"/v1/datasets/{wanted}").status_code == 204
    carry_out(state)
    assert everything(state) == []
    assert client.get("/v1/datasets/pets").status_code == 404
    retried = client.post(f"/v1/jobs/{job_id}/retry")
    assert (retried.status_code, "was deleted" in retried.json()["detail"]) == (409, True)


def test_published_datasets_stay(client):
    assert client.delete("/v1/datasets/digits").status_code == 409
    assert client.delete("/v1/datasets/nothing").status_code == 404


def test_old_jobs_are_deleted_and_young_ones_stay(client, state, put):
    old, young = finished(client, state, put), finished(client, state, put, seed=1)
    waiting = client.post("/v1/jobs", json=FOUR_WORDS | {"seed": 2}).json()["id"]
    long_ago = now() - timedelta(days=31)
    with unit_of_work(state.sessions) as session:
        session.execute(update(Job).where(Job.id == old).values(finished_at=long_ago))
        session.execute(update(Job).where(Job.id == waiting).values(created_at=long_ago))
    with unit_of_work(state.sessions) as session:
        assert service.delete_old(session, 30) == [old]
    left = {job["id"] for job in client.get("/v1/jobs").json()["data"]}
    assert left == {young, waiting}
