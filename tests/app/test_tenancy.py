"""What belongs to one tenant does not exist for another: walked over every operation there is."""

from collections.abc import Iterator

import pytest
from sqlalchemy import PrimaryKeyConstraint, UniqueConstraint, func, select, update

from app.kit.clock import now
from app.kit.db import unit_of_work
from app.kit.tenancy import bound
from app.models import Base, Job, JobEvent, Owned, Verification, WebhookDelivery
from app.openapi import render_document
from app.settings import Settings
from tests.app.access import SECRET, bearer, new_key, tenant_id
from tests.app.conftest import FOUR_WORDS, result, upload

OPEN = {"/healthz", "/readyz"}
NOT_OWNED = {
    "tenants": "the tenants themselves",
    "job_events": "belong to a job; restricted through it",
    "outbox": "read by relays and workers only",
    "attempts": "belong to a job; restricted through it",
    "webhook_deliveries": "belong to an endpoint; restricted through it",
    "erasures": "read by housekeeping only",
}
FILE = "report.json"


def operations() -> list[tuple[str, str]]:
    document = render_document()
    return [(method.upper(), path) for path, found in document["paths"].items() for method in found]


OPERATIONS = operations()
ABOUT_ONE = [(method, path) for method, path in OPERATIONS if "{" in path]
WHOLE = {"/metrics"}
LISTS = [
    (method, path)
    for method, path in OPERATIONS
    if method == "GET" and "{" not in path and path not in OPEN | WHOLE
]


def test_the_walk_sees_them_all():
    assert len(OPERATIONS) >= 45
    assert len(ABOUT_ONE) >= 28
    assert len(LISTS) >= 6


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path, broker_url="redis://127.0.0.1:1/0", auth="on", key_secret=SECRET)


@pytest.fixture
def alice(state) -> dict[str, str]:
    return bearer(new_key(state, "alice"))


@pytest.fixture
def bob(state) -> dict[str, str]:
    return bearer(new_key(state, "bob"))


@pytest.fixture
def belongings(client, state, alice, tmp_path) -> dict[str, str]:
    """Something of everything, Alice's; by the names of the path parameters."""
    job_id = client.post("/v1/jobs", json=FOUR_WORDS, headers=alice).json()["id"]
    hook = {"url": "https://alice.example/hook"}
    endpoint = client.post("/v1/webhook-endpoints", json=hook, headers=alice).json()["id"]
    found = {
        "job_id": job_id,
        "dataset": "ds_" + "0" * 26,
        "condensed_id": "cds_" + "0" * 26,
        "key_id": client.get("/v1/keys", headers=alice).json()["data"][0]["id"],
        "endpoint_id": endpoint,
        "delivery_id": "msg_" + "0" * 26,
        "verification_id": "ver_" + "0" * 26,
        "path": FILE,
    }
    files = [FILE, "manifest.json", "previews/grid.png"]
    (tmp_path / "file").write_bytes(b"{}")
    for path in files:
        state.storage.put_file(f"condensed/{found['condensed_id']}/{path}", tmp_path / "file")
    with unit_of_work(state.sessions) as session:
        owner = tenant_id(session, "alice")
    with unit_of_work(bound(state.sessions, owner)) as session:
        session.add(upload(found["dataset"], "pets"))
        session.add(
            WebhookDelivery(
                id=found["delivery_id"],
                endpoint_id=endpoint,
                job_id=job_id,
                type="job.running",
                payload={},
                created_at=now(),
            )
        )
        session.get_one(Job, job_id).finished_at = now()
        session.add(
            result(
                job_id,
                id=found["condensed_id"],
                tenant_id=owner,
                files=[
                    {"path": path, "bytes": 2, "sha256": "0" * 64, "media_type": "text/plain"}
                    for path in files
                ],
            )
        )
        session.flush()
        session.add(
            Verification(
                id=found["verification_id"],
                condensed_id=found["condensed_id"],
                job_id=job_id,
                repeats=1,
                created_at=now(),
            )
        )
    return found


@pytest.mark.parametrize(("method", "path"), ABOUT_ONE)
def test_what_is_anothers_is_not_found(client, alice, bob, belongings, method, path):
    """404 and never 403, which would say that it exists; the owner is answered."""
    address = path.format_map(belongings)
    assert client.request(method, address, headers=bob).status_code == 404
    if method == "GET":
        stream = {"Accept": "text/event-stream"}
        assert client.get(address, headers=bob | stream).status_code == 404
        assert client.head(address, headers=bob).status_code in (404, 405)
    # Whatever the state of the thing allows: its owner is told more than that there is none.
    assert client.request(method, address, headers=alice).status_code in (200, 202, 204, 409)


@pytest.mark.parametrize(("method", "path"), LISTS)
def test_lists_hold_nothing_of_anothers(client, bob, belongings, method, path):
    response = client.request(method, path, headers=bob)
    assert response.status_code == 200
    hidden = [value for name, value in belongings.items() if name != "path"] + ["pets"]
    assert [value for value in hidden if value in response.text] == []


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_without_a_key_only_health_is_told(client, belongings, method, path):
    response = client.request(method, path.format_map(belongings))
    assert (response.status_code == 401) is (path not in OPEN)


def test_the_documentation_says_which_operations_take_a_key():
    for path, found in render_document()["paths"].items():
        for operation in found.values():
            assert bool(operation["security"]) is (path not in OPEN)


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/healthz", "/"])
def test_open_to_everybody(client, path):
    assert client.get(path).status_code == 200


def test_anothers_upload_is_an_unknown_dataset(client, bob, belongings):
    for name in ("pets", belongings["dataset"]):
        wanted = FOUR_WORDS | {"dataset": name, "fraction": 0.5}
        response = client.post("/v1/jobs", json=wanted, headers=bob)
        assert response.status_code == 422
        assert response.json()["code"] == "unknown_name"
        assert "pets" not in response.text.replace(f"'{name}'", "")


def test_a_name_that_another_uses_is_free(client, state, alice, bob, belongings):
    with unit_of_work(state.sessions) as session:
        owner = tenant_id(session, "bob")
    with unit_of_work(bound(state.sessions, owner)) as session:
        session.add(upload("ds_" + "1" * 26, "pets"))
    mine = client.get("/v1/datasets/pets", headers=bob).json()["id"]
    assert mine == "ds_" + "1" * 26
    assert client.get("/v1/datasets/pets", headers=alice).json()["id"] == belongings["dataset"]


def test_an_idempotency_key_is_ones_own(client, alice, bob):
    def create(who: dict[str, str]) -> str:
        headers = who | {"Idempotency-Key": "same"}
        return client.post("/v1/jobs", json=FOUR_WORDS, headers=headers).json()["id"]

    assert create(alice) == create(alice) != create(bob)


def test_the_place_in_the_queue_counts_ones_own_jobs(client, alice, bob):
    """Tenants take turns, so the jobs of others are not ahead."""
    client.post("/v1/jobs", json=FOUR_WORDS, headers=alice)
    jobs = [client.post("/v1/jobs", json=FOUR_WORDS, headers=bob).json() for _ in range(2)]
    assert [job["queue_ahead"] for job in jobs] == [0, 1]


def test_metrics_are_the_operators(client, state, alice):
    assert client.get("/metrics", headers=alice).status_code == 404
    client.post("/v1/jobs", json=FOUR_WORDS, headers=alice)
    operator = bearer(new_key(state, "default"))
    assert 'dcpi_jobs{status="queued"} 1' in client.get("/metrics", headers=operator).text


def test_anothers_result_is_not_handed_out(client, alice, bob, belongings):
    """An equal spec is answered at once with one's own result, never with another's."""
    for who, status in ((bob, "queued"), (alice, "succeeded")):
        assert client.post("/v1/jobs", json=FOUR_WORDS, headers=who).json()["status"] == status


def tables() -> Iterator[tuple[str, type]]:
    for mapper in Base.registry.mappers:
        yield mapper.local_table.name, mapper.class_


def test_every_table_has_an_owner_or_a_reason():
    found = dict(tables())
    assert len(found) >= 7
    unowned = {name for name, table in found.items() if not issubclass(table, Owned)}
    assert unowned == NOT_OWNED.keys()


def test_a_tenants_rows_are_found_by_an_index():
    owned = [table.__table__ for _, table in tables() if issubclass(table, Owned)]
    assert len(owned) >= 7
    for table in owned:
        kinds = (UniqueConstraint, PrimaryKeyConstraint)
        keys = [key for key in table.constraints if isinstance(key, kinds)]
        first = {next(iter(found.columns)).name for found in [*table.indexes, *keys]}
        assert "tenant_id" in first, table.name


def test_statements_that_say_nothing_about_tenants_are_restricted(state, belongings):
    """Each way of asking, against a session of somebody who owns nothing."""
    with unit_of_work(bound(state.sessions, "tnt_nobody")) as session:
        job_id = belongings["job_id"]
        assert session.get(Job, job_id) is None
        assert session.get(Job, job_id, with_for_update=True) is None
        assert session.scalars(select(Job)).all() == []
        assert session.scalars(select(Job.id)).all() == []
        assert session.scalar(select(func.count()).select_from(Job)) == 0
        assert session.query(Job).count() == 0
        assert session.scalars(select(JobEvent)).all() == []
        joined = select(JobEvent.id).join(Job, Job.id == JobEvent.job_id)
        assert session.scalars(joined).all() == []
        changed = session.execute(update(Job).values(name="x").returning(Job.id))
        assert changed.all() == []
        assert session.query(Job).delete() == 0
    with unit_of_work(state.sessions) as session:
        assert session.scalars(select(Job.name)).all() == [None]
        assert session.scalar(select(func.count()).select_from(JobEvent)) == 1


def test_a_row_cannot_be_made_for_somebody_else(state, belongings):
    def make() -> None:
        with unit_of_work(bound(state.sessions, "tnt_default")) as session:
            row = upload("ds_" + "2" * 26, "mine")
            row.tenant_id = "tnt_other"
            session.add(row)

    with pytest.raises(AssertionError, match="somebody else"):
        make()
