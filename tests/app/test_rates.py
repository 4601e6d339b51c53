"""Rate limits: a bucket of tokens that is one for all processes, announced in standard fields."""

import re
import threading
from datetime import UTC, datetime, timedelta

import pytest

from app.access import service
from app.access.schemas import KeyCreate
from app.kit.db import build_sessions, unit_of_work
from app.models import DEFAULT_TENANT
from app.settings import Settings
from tests.app.access import SECRET, bearer, new_key
from tests.app.conftest import FOUR_WORDS

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(
        home=tmp_path,
        broker_url="redis://127.0.0.1:1/0",
        auth="on",
        key_secret=SECRET,
        requests_per_minute=3,
    )


def at(monkeypatch, seconds: float) -> None:
    monkeypatch.setattr(service, "now", lambda: START + timedelta(seconds=seconds))


def test_the_fields_count_down_and_recover(client, state, monkeypatch):
    own = bearer(new_key(state, "alice", "read"))
    found = []
    for seconds in (0, 0, 0, 0, 19, 20, 100):
        at(monkeypatch, seconds)
        response = client.get("/v1/jobs", headers=own)
        assert response.headers["RateLimit-Policy"] == '"requests";q=3;w=60'
        left = re.fullmatch(r'"requests";r=(\d+);t=(\d+)', response.headers["RateLimit"])
        found.append((response.status_code, *map(int, left.groups())))
    assert found == [
        (200, 2, 20),
        (200, 1, 40),
        (200, 0, 60),
        (429, 0, 60),
        (429, 0, 41),
        (200, 0, 60),
        (200, 2, 20),
    ]


def test_the_refusal_says_which_limit_and_when(client, state, monkeypatch):
    own = bearer(new_key(state, "alice"))
    at(monkeypatch, 0)
    for _ in range(3):
        assert client.get("/v1/jobs", headers=own).status_code == 200
    at(monkeypatch, 7)
    refused = client.post("/v1/jobs", json=FOUR_WORDS, headers=own)
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "13"
    assert refused.json()["code"] == "rate_limited"
    assert "is 3 in 60 s" in refused.json()["detail"]
    at(monkeypatch, 7 + 13)
    assert client.post("/v1/jobs", json=FOUR_WORDS, headers=own).status_code == 202


def test_keys_have_buckets_of_their_own(client, state, monkeypatch):
    at(monkeypatch, 0)
    one, two = bearer(new_key(state, "alice")), bearer(new_key(state, "alice"))
    statuses = [client.get("/v1/jobs", headers=who).status_code for who in [one] * 4 + [two]]
    assert statuses == [200, 200, 200, 429, 200]


def test_a_key_without_a_limit_announces_none(client, state):
    own = bearer(new_key(state, "alice", requests_per_minute=None))
    answers = [client.get("/v1/jobs", headers=own) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 5
    assert "RateLimit" not in answers[0].headers


def test_refusals_for_want_of_a_scope_count_too(client, state, monkeypatch):
    at(monkeypatch, 0)
    own = bearer(new_key(state, "alice", "read"))
    statuses = [client.get("/v1/keys", headers=own).status_code for _ in range(4)]
    assert statuses == [403, 403, 403, 429]


def test_of_many_at_once_exactly_the_quota_is_let_through(each_engine, monkeypatch):
    """Each thread with a connection of its own, as processes have."""
    sessions = build_sessions(each_engine)
    settings = Settings(auth="on", key_secret=SECRET, requests_per_minute=5)
    row, token = service.new_key(settings, KeyCreate(name="test"))
    row.tenant_id = DEFAULT_TENANT
    with unit_of_work(sessions) as session:
        session.add(row)
    at(monkeypatch, 0)
    found, together = [], threading.Barrier(12)

    def ask() -> None:
        together.wait()
        found.append(service.admit(each_engine, sessions, token, SECRET).allowance)

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    let_through = [allowance.remaining for allowance in found if allowance.retry_after is None]
    assert sorted(let_through) == [0, 1, 2, 3, 4]
    assert {a.retry_after for a in found if a.retry_after is not None} == {12}
