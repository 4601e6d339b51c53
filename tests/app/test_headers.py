"""Security headers: on every answer, whoever gives it; and the page of the docs still works."""

import base64
import hashlib
import re

import pytest

from app.jobs import repository
from app.kit.headers import SECURITY


def broken(*_args):
    raise RuntimeError


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/healthz", 200),
        ("/v1/jobs", 200),
        ("/v1/nothing", 404),
        ("/v1/jobs?limit=0", 422),
        ("/v1/methods", 200),
        ("/openapi.json", 200),
        ("/docs/swagger-ui.css", 200),
        ("/v1/jobs?dataset=bug", 500),
    ],
)
def test_every_answer_has_them(client, monkeypatch, path, status):
    if status == 500:
        monkeypatch.setattr(repository, "find", broken)
    response = client.get(path)
    assert response.status_code == status
    assert {name: response.headers[name] for name in SECURITY} == SECURITY


def test_refusals_have_them_too(client):
    response = client.get("http://192.0.2.7/v1/jobs")
    assert response.status_code == 401
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def policy_of(response) -> dict[str, list[str]]:
    parts = response.headers["Content-Security-Policy"].split("; ")
    return {name: values for name, *values in (part.split() for part in parts)}


def test_nothing_may_frame_an_answer(client):
    for path in ("/v1/jobs", "/docs"):
        assert policy_of(client.get(path))["frame-ancestors"] == ["'none'"]


def test_the_docs_may_run_their_own_scripts_and_no_others(client):
    page = client.get("/docs")
    policy = policy_of(page)
    own, *digests = policy["script-src"]
    assert own == "'self'"
    scripts = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert scripts
    for script in scripts:
        found = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{found}'" in digests
    assert len(digests) == len(scripts)
    assert not re.search(r"<[^>]+\son\w+=", page.text), "handlers in attributes would be blocked"
    sources = [value for values in policy.values() for value in values]
    assert not [value for value in sources if "http" in value or "*" in value]
    assert policy["connect-src"] == ["'self'"]  # trying an operation out
