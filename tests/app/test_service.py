"""The application around its domains: errors, health, documentation, migrations."""

import re
from datetime import timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fastapi.testclient import TestClient
from sqlalchemy import insert, inspect, select
from sqlalchemy.exc import IntegrityError

from app.jobs import repository
from app.jobs.device_time import month_of
from app.kit import problems
from app.kit.clock import now
from app.kit.db import build_engine, build_sessions, unit_of_work
from app.main import create_app
from app.migrate import config_for, upgrade
from app.models import DEFAULT_TENANT, Attempt, Base, Condensed, DeviceTime, Job, Owned
from app.openapi import PATH, render
from app.settings import Settings
from dcpi_core.spec import errors
from tests.app.conftest import LOCAL, queued, result


def test_every_deliberate_error_has_a_status():
    def walk(kind):
        yield kind
        for child in kind.__subclasses__():
            yield from walk(child)

    # The client has errors of its own, which never pass through the application.
    kinds = [kind for kind in walk(errors.DcpiError) if "client" not in kind.__module__]
    found = {kind.__name__: problems.status_of(kind("x")) for kind in kinds}
    assert len(found) >= 10
    assert (found["NotFound"], found["Conflict"], found["UnknownName"]) == (404, 409, 422)
    assert found["TooLarge"] == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("PUT", "/v1/jobs", 405), ("GET", "/v1/condensed/x", 422)],
)
def test_the_frameworks_own_errors_are_problems(client, method, path, status):
    response = client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["instance"] == path


def test_a_bug_is_a_problem_without_a_trace(client, monkeypatch):
    def broken(*_args):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(repository, "find", broken)
    response = client.get("/v1/jobs")
    assert response.status_code == 500
    assert response.json()["code"] == "internal_error"
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    assert response.headers["X-Request-Id"] == response.json()["request_id"] != ""


def test_request_ids_are_kept_if_sane(client):
    assert (
        client.get("/healthz", headers={"X-Request-Id": "mine-1"}).headers["X-Request-Id"]
        == "mine-1"
    )
    made = client.get("/healthz", headers={"X-Request-Id": "x" * 100}).headers["X-Request-Id"]
    assert made.startswith("req_")


def test_readiness_names_what_is_missing(client):
    response = client.get("/readyz")
    assert response.status_code == 503
    found = response.json()
    assert (found["sql"], found["storage"]) == ("ok", "ok")
    assert found["broker"].startswith("unreachable")


def test_ready_when_all_parts_answer(tmp_path, valkey_url):
    settings = Settings(home=tmp_path, broker_url=valkey_url)
    upgrade(settings.resolved_database_url)
    with TestClient(create_app(settings), LOCAL) as client:
        assert client.get("/readyz").json()["status"] == "ok"


def test_the_committed_documentation_is_current():
    assert PATH.read_text(encoding="utf-8") == render(), "run `make openapi`"


def test_the_page_of_the_documentation_needs_nobody_else(client):
    page = client.get("/docs")
    assert page.status_code == 200
    used = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(used) == 3
    for address in used:
        if address != "data:,":
            part = client.get(address)
            assert (part.status_code, len(part.content) > 100_000) == (200, True)
    assert "://" not in page.text
    assert client.get("/docs/other.js").status_code == 422
    assert client.get("/", follow_redirects=False).headers["location"] == "/docs"


def test_every_operation_is_documented(client):
    document = client.get("/openapi.json").json()
    operations = [op for path in document["paths"].values() for op in path.values()]
    assert len(operations) >= 20
    for operation in operations:
        assert operation["operationId"]
        assert operation["summary"]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    examples = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
    for example in examples["application/json"]["examples"].values():
        assert client.post("/v1/jobs", json=example["value"]).status_code == 202


def test_every_reference_of_the_documentation_leads_somewhere(client):
    document = client.get("/openapi.json").json()

    def references(value):
        if isinstance(value, dict):
            yield from [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                yield from references(item)

    found = set(references(document))
    assert "#/components/schemas/Problem" in found
    for reference in found:
        at = document
        for step in reference.removeprefix("#/").split("/"):
            at = at[step]


def test_every_operation_documents_its_problems(client):
    paths = client.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        if path.startswith("/v1"):
            for operation in operations.values():
                assert {"400", "422", "500"} <= operation["responses"].keys(), path
                assert "application/problem+json" in operation["responses"]["422"]["content"]


def test_the_catalogue_tells_what_can_be_asked(client):
    methods = {entry["name"]: entry for entry in client.get("/v1/methods").json()["data"]}
    assert {"dc", "random", "herding", "k_center", "forgetting"} <= methods.keys()
    assert methods["dc"]["options_schema"]["properties"]["iterations"]["default"] == 1000
    types = {entry["name"] for entry in client.get("/v1/privileged-types").json()["data"]}
    assert types >= {"none", "soft", "feature"}
    assert len(client.get("/v1/architectures").json()["data"]) > 20


def test_migrations_make_exactly_the_tables_of_the_models(database_url):
    upgrade(database_url)
    upgrade(database_url)  # twice is no error
    engine = build_engine(database_url)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    engine.dispose()
    assert differences == []


def test_migrations_can_be_taken_back(tmp_path):
    from alembic import command

    url = f"sqlite:///{tmp_path / 'back.db'}"
    upgrade(url)
    command.downgrade(config_for(url), "base")
    upgrade(url)


def test_answers_that_were_kept_before_are_found_by_what_they_created(database_url):
    upgrade(database_url, "0009_owner_is_named")
    engine = build_engine(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO idempotency_keys "
            "(tenant_id, operation, key, fingerprint, answer, created_at) VALUES "
            "('tnt_default', 'createJob', 'k', '', '{\"id\": \"job_1\"}', '2026-01-01 00:00:00')"
        )
    upgrade(database_url)
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT object_id FROM idempotency_keys").scalars().all()
    engine.dispose()
    assert found == ["job_1"]


def test_what_sets_were_said_to_be_worth_is_what_they_are_worth(each_engine, database_url):
    from alembic import command

    means = {"base": {"mean": 0.3}, "full": {"mean": 0.9}}
    worth = {0.5: means | {"privileged": {"mean": 0.5}}, 0.3: means}
    with unit_of_work(build_sessions(each_engine)) as session:
        for number, headline in enumerate(worth.values()):
            session.add(queued(f"job_{number}"))
            session.flush()
            session.add(result(f"job_{number}", top1=0.9, headline=headline))
    command.downgrade(config_for(database_url), "0010_answers_by_object")
    upgrade(database_url)
    with each_engine.connect() as connection:
        found = connection.execute(select(Condensed.top1)).scalars().all()
    assert sorted(found) == sorted(worth)


def test_what_was_there_before_tenants_belongs_to_the_default_one(database_url):
    upgrade(database_url, "0001")
    engine = build_engine(database_url)
    moment = "'2026-01-01 00:00:00'"
    rows = [
        "INSERT INTO datasets (id, name, facts, archive_sha256, size_bytes, storage_key, "
        f"created_at) VALUES ('ds_1', 'pets', '{{}}', '', 7, 'datasets/ds_1', {moment})",
        "INSERT INTO jobs (id, status, labels, request, spec, spec_digest, dataset, dataset_id, "
        "base_method, pi_types, images_per_class, estimate, attempt, created_at, queued_at, "
        "last_event) VALUES ('job_1', 'queued', '{}', '{}', '{}', '', 'pets', 'ds_1', 'dc', 'none',"
        f" 1, '{{}}', 0, {moment}, {moment}, 1)",
        "INSERT INTO job_events (id, job_id, seq, type, data, created_at) "
        f"VALUES (1, 'job_1', 1, 'status', '{{}}', {moment})",
    ]
    with engine.begin() as connection:
        for row in rows:
            connection.exec_driver_sql(row)
    upgrade(database_url)
    with engine.connect() as connection:
        for table in ("datasets", "jobs"):
            owners = connection.exec_driver_sql(f"SELECT tenant_id FROM {table}").scalars().all()
            assert owners == [DEFAULT_TENANT]
        stored = connection.exec_driver_sql("SELECT stored_bytes FROM datasets").scalar()
        assert stored == 7
        assert connection.exec_driver_sql("SELECT job_id FROM job_events").scalar() == "job_1"
        if engine.dialect.name == "sqlite":  # tables were copied while references were not followed
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    engine.dispose()


def test_device_time_of_this_month_is_filled_in_from_what_is_there(database_url):
    upgrade(database_url, "0007_fewer_indexes")
    engine = build_engine(database_url)
    month, _ = month_of(now())
    times = [(-20, -10), (-5, 5), (10, 30), (40, None)]  # seconds of the month
    with engine.begin() as connection:
        connection.execute(insert(Job.__table__), columns_of(queued("job_1")))
        for number, (since, until) in enumerate(times):
            row = {"job_id": "job_1", "number": number, "worker": "host", "shrink": 0}
            row["started_at"] = month + timedelta(seconds=since)
            row["ended_at"] = None if until is None else month + timedelta(seconds=until)
            connection.execute(insert(Attempt.__table__), row)
    upgrade(database_url)
    with engine.connect() as connection:
        found = connection.execute(select(DeviceTime.__table__)).all()
    engine.dispose()
    assert found == [(DEFAULT_TENANT, month.date(), 25.0)]


def test_a_row_without_an_owner_is_refused(each_engine):
    for kind in (table.class_ for table in Base.registry.mappers):
        if issubclass(kind, Owned):
            with each_engine.connect() as connection:
                columns = {
                    column["name"]: column
                    for column in inspect(connection).get_columns(kind.__tablename__)
                }
            assert (columns["tenant_id"]["default"], columns["tenant_id"]["nullable"]) == (
                None,
                False,
            )
    job = columns_of(queued("job_1"))
    job.pop("tenant_id")
    with pytest.raises(IntegrityError, match="tenant_id"), each_engine.begin() as connection:
        connection.execute(insert(Job.__table__), job)


def test_indexes_of_some_rows_stay_so_where_sqlite_copies_a_table(tmp_path):
    url = f"sqlite:///{tmp_path / 'new.db'}"
    upgrade(url)
    engine = build_engine(url)
    with engine.connect() as connection:
        made = "SELECT sql FROM sqlite_master WHERE tbl_name = 'jobs' AND sql LIKE '%INDEX%WHERE%'"
        assert len(connection.exec_driver_sql(made).all()) == 4
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    engine.dispose()


def columns_of(row: Base) -> dict:
    """Of a new row, also those that a flush would fill in."""
    columns = {"attempt": 0, "priority": 0, "shrink": 0, "last_event": 0, "cached": False}
    return columns | {name: value for name, value in vars(row).items() if name[0] != "_"}
