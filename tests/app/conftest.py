"""An application over SQLite and a local directory, with no broker: submissions wait."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from app.jobs.reuse import code_version
from app.kit.app_state import AppState
from app.kit.clock import now
from app.kit.db import build_engine
from app.main import create_app
from app.migrate import upgrade
from app.models import DEFAULT_TENANT, Condensed, Dataset, Job
from app.settings import Settings
from dcpi_core.client import Client
from dcpi_core.spec.catalog import load_catalog

LOCAL = "http://127.0.0.1:8000"
"""Where a service without keys answers: not by the name that test clients have for it."""
FOUR_WORDS = {
    "dataset": "digits",
    "fraction": "0.7%",
    "base_method": "dc",
    "pi_type": "feature",
}


def queued(job_id: str) -> Job:
    """A queued job as the database needs it; its spec is empty."""
    return Job(
        id=job_id,
        tenant_id=DEFAULT_TENANT,
        status="queued",
        request=FOUR_WORDS,
        spec={},
        spec_digest="",
        dataset="digits",
        base_method="dc",
        pi_types="feature",
        images_per_class=1,
        estimate={},
        labels={},
        created_at=now(),
        queued_at=now(),
        queue="gpu",
    )


def result(job_id: str, **changes) -> Condensed:
    """What a job made, as the database needs it, without files; changes are to its columns."""
    row = {
        "id": "cds_" + job_id.removeprefix("job_"),
        "tenant_id": DEFAULT_TENANT,
        "job_id": job_id,
        "dataset": "digits",
        "base_method": "dc",
        "pi_types": "feature",
        "images_per_class": 1,
        "top1": 0.5,
        "bytes_total": 1,
        "manifest": {},
        "report": {},
        "headline": {},
        "files": [],
        "code_version": code_version(),
        "created_at": now(),
    }
    return Condensed(**(row | changes))


def upload(dataset_id: str, name: str) -> Dataset:
    """An upload of the session's tenant, whose file is not there."""
    facts = load_catalog().datasets["digits"].model_dump(mode="json") | {"name": name}
    return Dataset(
        id=dataset_id,
        name=name,
        facts=facts,
        archive_sha256="0" * 64,
        size_bytes=1,
        stored_bytes=1,
        storage_key=f"datasets/{dataset_id}.safetensors",
        created_at=now(),
    )


def nothing_held(queues) -> dict[str, int]:
    """What a broker answers that has forgotten every call."""
    return dict.fromkeys(queues, 0)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    return str(request.getfixturevalue("postgres_url")())


@pytest.fixture
def each_engine(database_url: str) -> Iterator[Engine]:
    """A database of each kind in turn, with all tables and the default tenant."""
    upgrade(database_url)
    engine = build_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, broker_url="redis://127.0.0.1:1/0")


@pytest.fixture
def application(settings: Settings) -> FastAPI:
    upgrade(settings.resolved_database_url)
    return create_app(settings)


@pytest.fixture
def state(application: FastAPI) -> AppState:
    found: AppState = application.state.dcpi
    return found


@contextmanager
def serving(application: FastAPI) -> Iterator[TestClient]:
    """A client of the application that may be used by many threads.

    It is not entered, so that no thread of the application empties the outbox; see test_relay.py.
    Such a client gives each request an event loop of its own, and a request that waits for a seat
    there is never woken by one of another loop: here all share one, as they do in a server.
    """
    client = TestClient(application, LOCAL, raise_server_exceptions=False)
    with start_blocking_portal() as client.portal:
        yield client
    application.state.dcpi.engine.dispose()


@pytest.fixture
def client(application: FastAPI) -> Iterator[TestClient]:
    with serving(application) as client:
        yield client


@pytest.fixture
def job_id(client: TestClient) -> str:
    return str(client.post("/v1/jobs", json=FOUR_WORDS).json()["id"])


class ToApplication(httpx.BaseTransport):
    """Passes requests on to the application."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path, headers = request.url.raw_path.decode(), request.headers
        answer = self._client.request(request.method, path, content=request.read(), headers=headers)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


@pytest.fixture
def dcpi(client: TestClient) -> Iterator[Client]:
    """Our own client of the application."""
    with Client("http://127.0.0.1", transport=ToApplication(client), retries=0) as dcpi:
        yield dcpi
