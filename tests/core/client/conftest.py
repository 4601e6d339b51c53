"""A service made of one function, and a clock that does not wait."""

import httpx
import pytest

from dcpi_core.client import Client


@pytest.fixture
def naps(monkeypatch):
    """What the client would have slept."""
    slept: list[float] = []
    monkeypatch.setattr("dcpi_core.client.transport.time.sleep", slept.append)
    return slept


@pytest.fixture
def service(naps):
    """``client, requests = service(answer)``: every request is kept, ``answer`` replies."""

    def start(answer, **options):
        requests: list[httpx.Request] = []

        def handle(request: httpx.Request) -> httpx.Response:
            request.read()
            requests.append(request)
            reply = answer(request) if callable(answer) else answer.pop(0)
            if isinstance(reply, Exception):
                raise reply
            return reply

        client = Client("http://dcpi.test", transport=httpx.MockTransport(handle), **options)
        return client, requests

    return start


def job(status: str = "queued", **fields):
    return {"id": "job_1", "status": status, **fields}


def ok(body, **headers):
    return httpx.Response(200, json=body, headers=headers)


def problem(status: int, code: str, headers=None, **fields):
    body = {"status": status, "code": code, "detail": f"about {code}", **fields}
    return httpx.Response(
        status, json=body, headers={"content-type": "application/problem+json"} | (headers or {})
    )


def page(*items, more: bool = False):
    ids = [item.get("id") for item in items] or [None]
    return ok(
        {
            "object": "list",
            "data": list(items),
            "first_id": ids[0],
            "last_id": ids[-1],
            "has_more": more,
        }
    )
