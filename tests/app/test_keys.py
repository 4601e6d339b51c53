"""API keys: who is admitted, what a key may do, and that it is nowhere to be found afterwards."""

import sqlite3
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from sqlalchemy import select, update

from app import keys
from app.access import policy, tokens
from app.kit.clock import now
from app.kit.db import unit_of_work
from app.main import create_app
from app.migrate import upgrade
from app.models import ApiKey
from app.settings import Settings
from dcpi_core.client import Client
from dcpi_core.spec.errors import NotAllowed, NotAuthenticated
from tests.app.access import SECRET, bearer, new_key
from tests.app.conftest import FOUR_WORDS, LOCAL


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path, broker_url="redis://127.0.0.1:1/0", auth="on", key_secret=SECRET)


def test_a_key_opens_the_door(client, state):
    response = client.get("/v1/jobs", headers=bearer(new_key(state, "alice", "read")))
    assert (response.status_code, response.json()["data"]) == (200, [])


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Bearer " + tokens.mint("key_01JD0000000000000000000000")},
    ],
)
def test_without_a_valid_key_there_is_none(client, given):
    response = client.get("/v1/jobs", headers=given)
    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert response.json()["code"] == "not_authenticated"
    assert response.json()["request_id"] == response.headers["X-Request-Id"] != ""


def test_one_letter_off_is_another_key(client, state):
    token = new_key(state, "alice")
    for place in (8, 40, -1):
        wrong = list(token)
        wrong[place] = "0" if wrong[place] != "0" else "1"
        assert client.get("/v1/jobs", headers=bearer("".join(wrong))).status_code == 401


def test_the_secret_of_another_key_does_not_fit(client, state):
    """Right id, well-formed, but never made by this service."""
    known = tokens.id_in(new_key(state, "alice"))
    assert client.get("/v1/jobs", headers=bearer(tokens.mint(known))).status_code == 401


def test_expired_and_revoked_keys_say_so(client, state):
    past = now() - timedelta(seconds=1)
    expired = client.get("/v1/jobs", headers=bearer(new_key(state, "alice", expires_at=past)))
    revoked = client.get("/v1/jobs", headers=bearer(new_key(state, "alice", revoked_at=past)))
    assert (expired.status_code, revoked.status_code) == (401, 401)
    assert "expired" in expired.json()["detail"]
    assert "revoked" in revoked.json()["detail"]


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [(["read"], 1), (["write"], 2), (["read", "write"], 2), (["admin"], 3)],
)
def test_scopes(client, state, scopes, allowed):
    own = bearer(new_key(state, "alice", *scopes))
    statuses = [
        client.get("/v1/jobs", headers=own).status_code,
        client.post("/v1/jobs", json=FOUR_WORDS, headers=own).status_code,
        client.get("/v1/keys", headers=own).status_code,
    ]
    assert statuses == ([200, 202, 200][:allowed] + [403] * 3)[:3]
    assert client.post("/v1/jobs/estimate", json=FOUR_WORDS, headers=own).status_code == 200


def test_a_missing_scope_is_named(client, state):
    own = bearer(new_key(state, "alice", "read"))
    problem = client.post("/v1/jobs", json=FOUR_WORDS, headers=own).json()
    assert problem["code"] == "not_allowed"
    assert "scope write" in problem["detail"]


def test_the_life_of_a_key_over_rest(client, state):
    admin = bearer(new_key(state, "alice", "admin"))
    wanted = {"name": "ci", "scopes": ["read"], "expires_at": "2100-01-01T00:00:00Z"}
    made = client.post("/v1/keys", json=wanted, headers=admin)
    assert made.status_code == 201
    key, own = made.json()["key"], bearer(made.json()["key"])
    assert client.get("/v1/jobs", headers=own).status_code == 200
    shown = client.get(f"/v1/keys/{made.json()['id']}", headers=admin).json()
    assert shown["scopes"] == ["read"]
    assert shown["last_used_at"] is not None
    assert key not in client.get("/v1/keys", headers=admin).text
    revoke = f"/v1/keys/{made.json()['id']}/revoke"
    first = client.post(revoke, headers=admin).json()["revoked_at"]
    assert client.get("/v1/jobs", headers=own).status_code == 401
    assert client.post(revoke, headers=admin).json()["revoked_at"] == first


@pytest.mark.parametrize(
    "wrong",
    [
        {"scopes": ["root"]},
        {"scopes": []},
        {"expires_at": "2001-01-01T00:00:00Z"},
        {"name": ""},
        {"tenant": "bob"},
    ],
)
def test_a_key_that_makes_no_sense_is_refused(client, state, wrong):
    admin = bearer(new_key(state, "alice", "admin"))
    response = client.post("/v1/keys", json={"name": "ci"} | wrong, headers=admin)
    assert response.status_code == 422
    assert f"/{next(iter(wrong))}" in response.json()["errors"][0]["pointer"]


def test_the_database_holds_no_key(client, state, settings):
    token = new_key(state, "alice")
    assert client.get("/v1/jobs", headers=bearer(token)).status_code == 200
    dump = "\n".join(sqlite3.connect(settings.home / "dcpi.db").iterdump())
    assert tokens.id_in(token) in dump
    assert token.rpartition("_")[2][:48] not in dump


def test_the_client_brings_its_key_and_understands_a_refusal(client, state):
    def through(api_key: str | None) -> Client:
        # The application in place of the network, for httpx as the client uses it.
        def handle(request: httpx.Request) -> httpx.Response:
            found = client.request(request.method, request.url.path, headers=request.headers)
            return httpx.Response(found.status_code, headers=found.headers, content=found.content)

        transport = httpx.MockTransport(handle)
        return Client("http://127.0.0.1", api_key=api_key, transport=transport)

    assert through(new_key(state, "alice", "read")).jobs.list().data == ()
    with pytest.raises(NotAuthenticated, match="Authorization: Bearer"):
        through(None).jobs.list()
    with pytest.raises(NotAllowed, match="scope write"):
        through(new_key(state, "alice", "read")).jobs.cancel("job_01JD0000000000000000000000")


def test_a_digest_is_worth_nothing_under_another_secret():
    token = tokens.mint("key_01JD0000000000000000000000")
    known = tokens.digest(token, SECRET)
    assert tokens.matches(token, SECRET, known)
    assert not tokens.matches(token, SECRET + "!", known)
    assert known == tokens.digest(token, SECRET)


def test_the_last_use_is_written_seldom(client, state):
    token = new_key(state, "alice", "read")

    def used() -> datetime:
        assert client.get("/v1/jobs", headers=bearer(token)).status_code == 200
        with unit_of_work(state.sessions) as session:
            return session.scalars(select(ApiKey.last_used_at)).one()

    def make_older(by: timedelta) -> None:
        with unit_of_work(state.sessions) as session:
            session.execute(update(ApiKey).values(last_used_at=now() - by))

    first = used()
    assert used() == first
    make_older(timedelta(minutes=6))
    assert used() >= first


@pytest.mark.parametrize(
    ("auth", "host", "secret", "required"),
    [
        ("auto", "127.0.0.1", None, False),
        ("auto", "::1", None, False),
        ("auto", "localhost", None, False),
        ("auto", "0.0.0.0", SECRET, True),
        ("auto", "192.0.2.1", SECRET, True),
        ("auto", "example.org", SECRET, True),
        ("on", "127.0.0.1", SECRET, True),
        ("off", "127.0.0.1", None, False),
        ("open", "0.0.0.0", None, False),
    ],
)
def test_where_keys_are_needed(auth, host, secret, required):
    assert policy.keys_required(Settings(auth=auth, host=host, key_secret=secret)) is required


@pytest.mark.parametrize(
    ("auth", "host", "names"),
    [
        ("off", "0.0.0.0", "DCPI_AUTH=on"),
        ("auto", "0.0.0.0", "DCPI_KEY_SECRET"),
        ("on", "127.0.0.1", "DCPI_KEY_SECRET"),
    ],
)
def test_the_service_does_not_start_open_to_strangers(auth, host, names, tmp_path):
    with pytest.raises(ValueError, match=names):
        create_app(Settings(home=tmp_path, auth=auth, host=host))


def test_a_short_secret_is_refused():
    with pytest.raises(ValidationError, match="at least 32 characters"):
        Settings(key_secret="short")


@pytest.mark.parametrize(
    ("server", "status"),
    [("127.0.0.1", 200), ("[::1]", 200), ("192.0.2.7", 401), ("[2001:db8::7]", 401)],
)
def test_without_keys_only_this_machine_is_answered(tmp_path, server, status):
    """Whatever the server was told to listen on: the address of the connection counts."""
    settings = Settings(home=tmp_path)
    upgrade(settings.resolved_database_url)
    client = TestClient(create_app(settings), base_url=f"http://{server}:8000")
    assert client.get("/v1/jobs").status_code == status
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("LocalHost", 200),
        ("127.0.0.1", 200),
        ("127.1.2.3:8000", 200),
        ("[::1]:8000", 200),
        ("evil.example:8000", 401),
        ("localhost.evil.example", 401),
        ("127.0.0.1.evil.example", 401),
        ("192.0.2.7:8000", 401),
        ("[2001:db8::7]", 401),
        ("[::1", 401),
        ("", 401),
    ],
)
def test_without_keys_this_machine_is_answered_under_its_own_names_only(tmp_path, host, status):
    """A page's name may lead here once it is loaded, and its browser sees nothing wrong in that."""
    settings = Settings(home=tmp_path, broker_url="redis://127.0.0.1:1/0")
    upgrade(settings.resolved_database_url)
    client = TestClient(create_app(settings), LOCAL)
    headers = {"Host": host, "Sec-Fetch-Site": "same-origin"}
    answer = client.get("/v1/jobs", headers=headers)
    assert answer.status_code == status
    assert status == 200 or "localhost" in answer.json()["detail"]
    posted = client.post("/v1/jobs", json=FOUR_WORDS, headers=headers)
    assert posted.status_code == (202 if status == 200 else 401)
    assert client.get("/healthz", headers=headers).status_code == 200


def test_tools_that_name_no_host_are_no_browsers():
    assert policy.is_meant_for_this_machine({})


@pytest.mark.parametrize("auth", ["off", "open", "on"])
def test_hosts_are_judged_only_where_nothing_else_protects(tmp_path, auth):
    settings = Settings(home=tmp_path, auth=auth, key_secret=SECRET)
    upgrade(settings.resolved_database_url)
    application = create_app(settings)
    key = bearer(new_key(application.state.dcpi, "alice", "read"))
    client = TestClient(application, LOCAL, headers=key)
    answer = client.get("/v1/jobs", headers={"Host": "dcpi.example"})
    assert answer.status_code == (401 if auth == "off" else 200)


@pytest.mark.parametrize("auth", ["auto", "off", "open"])
@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"])
def test_without_keys_nothing_is_answered_that_a_proxy_passes_on(tmp_path, auth, header):
    """It comes from 127.0.0.1, as what the machine itself sends, and may be anybody's."""
    settings = Settings(home=tmp_path, auth=auth)
    upgrade(settings.resolved_database_url)
    client = TestClient(create_app(settings), LOCAL)
    answer = client.get("/v1/jobs", headers={header: "192.0.2.7"})
    assert answer.status_code == (200 if auth == "open" else 401)
    assert client.get("/v1/jobs").status_code == 200


@pytest.mark.parametrize(
    ("site", "status"),
    [("cross-site", 403), ("same-site", 403), ("same-origin", 422), ("none", 422), (None, 422)],
)
def test_pages_of_other_sites_change_nothing(tmp_path, site, status):
    """Where no key is needed, a form on any page could otherwise send an upload."""
    settings = Settings(home=tmp_path, broker_url="redis://127.0.0.1:1/0")
    upgrade(settings.resolved_database_url)
    headers = {} if site is None else {"Sec-Fetch-Site": site}
    with TestClient(create_app(settings), LOCAL) as client:
        form = {"file": ("pets.zip", b"no archive")}
        assert client.post("/v1/datasets", files=form, headers=headers).status_code == status
        assert client.get("/v1/datasets", headers=headers).status_code == 200


def test_the_command_line(application, client, settings, monkeypatch, capsys):
    monkeypatch.setenv("DCPI_HOME", str(settings.home))
    monkeypatch.setenv("DCPI_KEY_SECRET", SECRET)
    words = ["create", "--tenant", "bob", "--name", "laptop", "--scope", "read"]
    assert keys.main([*words, "--expires-days", "30"]) == 0
    token = capsys.readouterr().out.strip()
    assert client.get("/v1/jobs", headers=bearer(token)).status_code == 200
    assert keys.main(["list"]) == 0
    listed = capsys.readouterr().out
    day = datetime.now(UTC) + timedelta(days=30)
    assert f"{tokens.id_in(token)}  bob  laptop  read  expires {day:%Y-%m}" in listed
    assert token not in listed
    assert keys.main(["limit", "--tenant", "bob", "--max-queued-jobs", "none"]) == 0
    assert "max_queued_jobs none, max_running_jobs 2" in capsys.readouterr().out
    assert keys.main(["revoke", tokens.id_in(token)]) == 0
    assert client.get("/v1/jobs", headers=bearer(token)).status_code == 401
    assert keys.main(["revoke", "key_none"]) == 2
    assert "key_none" in capsys.readouterr().err


def test_the_command_line_makes_no_key_without_a_secret(settings, application, monkeypatch, capsys):
    monkeypatch.setenv("DCPI_HOME", str(settings.home))
    assert keys.main(["create", "--name", "laptop"]) == 2
    assert "DCPI_KEY_SECRET" in capsys.readouterr().err


def test_without_tables_the_command_line_says_what_to_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DCPI_HOME", str(tmp_path))
    monkeypatch.delenv("DCPI_DATABASE_URL", raising=False)
    assert keys.main(["list"]) == 2
    assert "python -m app.migrate" in capsys.readouterr().err
