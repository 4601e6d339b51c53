"""Uploads that are on their way: how many there may be, whose, and for how long."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from app.kit.app_state import FORMS, FORMS_EACH
from app.settings import Settings
from tests.app.access import SECRET, bearer, new_key
from tests.app.conftest import LOCAL
from tests.servers import wait_until

BROKEN = b"--x"
"""The beginning of a form, which is refused once nothing follows."""


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path, broker_url="redis://127.0.0.1:1/0", auth="on", key_secret=SECRET)


class Sender:
    """Sends uploads as the holder of a key."""

    def __init__(self, application, state, tenant: str) -> None:
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(application),
            base_url=LOCAL,
            headers=kind | bearer(new_key(state, tenant)),
        )

    async def send(self, content: AsyncIterator[bytes] | bytes = BROKEN) -> httpx.Response:
        return await self._http.post("/v1/datasets", content=content)


@pytest.fixture
def alice(application, state) -> Sender:
    return Sender(application, state, "alice")


@pytest.fixture
def bob(application, state) -> Sender:
    return Sender(application, state, "bob")


def test_an_upload_beyond_the_places_is_refused_before_it_is_read(alice, state):
    read = []

    async def body():
        read.append(1)
        yield BROKEN

    state.forms.taken = FORMS
    answer = asyncio.run(alice.send(body()))
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert not read


def test_one_tenant_leaves_places_to_others(alice, bob, state):
    async def scene():
        go_on = asyncio.Event()

        async def body():
            yield BROKEN
            await go_on.wait()

        held = [asyncio.ensure_future(alice.send(body())) for _ in range(FORMS_EACH)]
        await asyncio.to_thread(wait_until, lambda: state.forms.taken == FORMS_EACH, "uploads", 30)
        refused, other = await alice.send(), await bob.send()
        go_on.set()
        return refused, [other, *await asyncio.gather(*held), await alice.send()]

    refused, received = asyncio.run(scene())
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (429, "uploads_at_once")
    assert int(refused.headers["Retry-After"]) > 0
    assert {answer.status_code for answer in received} == {422}, "what they sent lacks all fields"


def test_an_upload_of_which_nothing_more_comes_gives_its_place_back(alice, state, monkeypatch):
    monkeypatch.setattr("app.kit.forms.SILENT_SECONDS", 0.2)

    async def body():
        yield BROKEN
        await asyncio.sleep(60)

    answer = asyncio.run(alice.send(body()))
    assert (answer.status_code, answer.json()["code"]) == (408, "timed_out")
    assert state.forms.taken == 0
