"""An application over SQLite and a local directory, with no broker: submissions wait."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.kit.app_state import AppState
from app.main import create_app
from app.migrate import upgrade
from app.settings import Settings

FOUR_WORDS = {
    "dataset": "digits",
    "fraction": "0.7%",
    "base_method": "dc",
    "pi_type": "feature",
}


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


@pytest.fixture
def client(application: FastAPI) -> Iterator[TestClient]:
    with TestClient(application, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def job_id(client: TestClient) -> str:
    return str(client.post("/v1/jobs", json=FOUR_WORDS).json()["id"])
