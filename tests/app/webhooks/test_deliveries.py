"""From a change of state to a signed message that arrives, sooner or later."""

import json
import socket
import threading
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.kit.clock import now
from app.kit.db import unit_of_work
from app.models import WebhookDelivery
from app.webhooks import outbox, service, signing
from app.webhooks.courier import AT_ONCE, PER_ENDPOINT, PER_TENANT, Courier, NoAnswer, sender
from tests.app.conftest import FOUR_WORDS
from tests.servers import wait_until

HOOK = {"url": "https://hooks.example/dcpi"}


class Post:
    """In place of the network: keeps what is sent, answers what it is told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: int | Exception = 200

    def __call__(self, url, headers, body) -> int:
        self.sent.append((url, headers, body))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def wire():
    return Post()


@pytest.fixture
def courier(state, wire):
    return Courier(state.sessions, wire)


def deliver(courier) -> int:
    """A round to its end; returns how many messages were sent."""
    begun = courier.round()
    for message in begun:
        message.result(timeout=10)
    return len(begun)


def add(client, **changes):
    response = client.post("/v1/webhook-endpoints", json=HOOK | changes)
    assert response.status_code == 201, response.json()
    return response.json()


def cancelled_job(client) -> str:
    job_id = client.post("/v1/jobs", json=FOUR_WORDS).json()["id"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    return job_id


def deliveries(client, endpoint):
    return client.get(f"/v1/webhook-endpoints/{endpoint['id']}/deliveries").json()["data"]


def make_due(state):
    with unit_of_work(state.sessions) as session:
        waiting = update(WebhookDelivery).where(WebhookDelivery.next_at.is_not(None))
        session.execute(waiting.values(next_at=now() - timedelta(seconds=1)))


def test_a_change_of_state_is_told_and_signed(client, wire, courier):
    endpoint = add(client)
    job_id = cancelled_job(client)
    assert deliver(courier) == 1
    ((url, headers, body),) = wire.sent
    message = json.loads(body)
    assert url == HOOK["url"]
    assert message["type"] == "job.cancelled"
    told = {"kind": "condense", "status": "cancelled", "condensed_id": None}
    assert message["data"] == {"job_id": job_id} | told
    timestamp = int(headers["webhook-timestamp"])
    signed = signing.sign(endpoint["secret"], headers["webhook-id"], timestamp, body)
    assert headers["webhook-signature"] == signed
    (delivery,) = deliveries(client, endpoint)
    assert (delivery["id"], delivery["status"]) == (headers["webhook-id"], "delivered")
    assert (delivery["tries"], delivery["last_status"]) == (1, 200)
    assert deliver(courier) == 0


def test_only_wanted_events_are_sent(client, wire, courier):
    add(client, events=["job.succeeded"])
    cancelled_job(client)
    assert deliver(courier) == 0


def test_a_change_that_is_rolled_back_is_not_told(client, state, courier, job_id):
    add(client)
    with state.sessions() as session:
        outbox.announce(session, job_id, "failed")
        session.flush()
        session.rollback()
    assert deliver(courier) == 0


@pytest.mark.parametrize(
    "answer", [500, 302, 404, NoAnswer("ConnectError: refused"), ValueError("a bug")]
)
def test_a_failure_is_tried_again_later_under_the_same_id(client, state, wire, courier, answer):
    endpoint = add(client)
    cancelled_job(client)
    wire.answer = answer
    assert (deliver(courier), deliver(courier)) == (1, 0), "not at once"
    (delivery,) = deliveries(client, endpoint)
    assert delivery["status"] == "waiting"
    expected = answer if isinstance(answer, int) else None
    assert (delivery["last_status"], bool(delivery["last_error"])) == (expected, expected is None)
    wire.answer = 204
    make_due(state)
    assert deliver(courier) == 1
    first, second = (headers for _, headers, _ in wire.sent)
    assert first["webhook-id"] == second["webhook-id"]
    assert deliveries(client, endpoint)[0]["status"] == "delivered"


@pytest.mark.parametrize("private", [False, True])
def test_where_nobody_answers_the_reason_is_kept(state, private):
    send = sender(state.settings.model_copy(update={"webhook_allow_private": private}))
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        with pytest.raises(NoAnswer, match="ConnectError" if private else "ForbiddenTarget"):
            send(url, {}, b"")


def test_pauses_grow_and_tries_end(client, state, wire, courier):
    endpoint = add(client)
    cancelled_job(client)
    wire.answer = 503
    pauses = []
    while deliver(courier):
        (delivery,) = deliveries(client, endpoint)
        if delivery["next_at"] is None:
            break
        with state.sessions() as session:
            pauses.append((session.scalar(select(WebhookDelivery.next_at)) - now()).total_seconds())
        make_due(state)
    assert (delivery["status"], delivery["tries"]) == ("failed", 10)
    assert pauses == sorted(pauses)
    for pause, planned in zip(pauses, outbox.PAUSES, strict=True):
        assert planned * 0.9 - 5 < pause < planned * 1.1 + 1


def test_gone_disables_the_endpoint_and_a_redelivery_enables_it(client, wire, courier):
    endpoint = add(client)
    cancelled_job(client)
    wire.answer = 410
    deliver(courier)
    path = f"/v1/webhook-endpoints/{endpoint['id']}"
    assert client.get(path).json()["enabled"] is False
    cancelled_job(client)
    (delivery,) = deliveries(client, endpoint)
    assert delivery["status"] == "failed"
    again = client.post(f"{path}/deliveries/{delivery['id']}/redeliver")
    assert (again.status_code, again.json()["status"]) == (202, "waiting")
    wire.answer = 200
    assert deliver(courier) == 1
    assert wire.sent[0][1]["webhook-id"] == wire.sent[1][1]["webhook-id"]
    assert client.get(path).json()["enabled"] is True


def test_after_a_rotation_both_secrets_sign_for_a_day(client, state, wire, courier):
    old = add(client)
    new = client.post(f"/v1/webhook-endpoints/{old['id']}/rotate").json()
    assert new["secret"] != old["secret"]
    cancelled_job(client)
    deliver(courier)
    _, headers, body = wire.sent[0]
    parts = headers["webhook-id"], int(headers["webhook-timestamp"]), body
    expected = [signing.sign(secret, *parts) for secret in (new["secret"], old["secret"])]
    assert headers["webhook-signature"].split() == expected


class Receivers:
    """In place of the network: those with "hole" in their address do not answer until the end."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.answered: list[str] = []
        self.held: list[str] = []

    def __call__(self, url, headers, body) -> int:
        if "hole" in url:
            self.held.append(url)
            assert self.over.wait(20)
        self.answered.append(url)
        return 200


@pytest.fixture
def receivers():
    found = Receivers()
    yield found
    found.over.set()


def test_a_receiver_that_does_not_answer_holds_up_nobody_else(client, state, receivers):
    courier = Courier(state.sessions, receivers)
    add(client, url="https://hole.example/")
    for _ in range(20):
        cancelled_job(client)
    courier.start()
    wait_until(lambda: receivers.held, "a message to the hole", 10)
    add(client, url="https://quick.example/")
    for _ in range(5):
        cancelled_job(client)
    wait_until(lambda: len(receivers.answered) == 5, "the others", 10)
    assert len(receivers.held) == PER_ENDPOINT
    courier.stop()


def test_one_tenant_does_not_take_all_the_room(client, state, receivers):
    courier = Courier(state.sessions, receivers)
    for number in range(AT_ONCE):
        add(client, url=f"https://hole{number}.example/")
    cancelled_job(client)
    begun = courier.round()
    assert (len(begun), courier.round()) == (PER_TENANT, [])
    assert PER_ENDPOINT < PER_TENANT < AT_ONCE
    receivers.over.set()
    for message in begun:
        message.result(timeout=10)
    assert len(courier.round()) == PER_TENANT, "the next ones have their turn"


def test_secrets_are_shown_once(client):
    endpoint = add(client)
    shown = client.get(f"/v1/webhook-endpoints/{endpoint['id']}").json()
    listed = client.get("/v1/webhook-endpoints").json()["data"]
    assert "secret" not in shown
    assert listed == [shown]


def test_a_deleted_endpoint_gets_nothing_more(client, courier):
    endpoint = add(client)
    cancelled_job(client)
    assert client.delete(f"/v1/webhook-endpoints/{endpoint['id']}").status_code == 204
    assert deliver(courier) == 0
    assert client.get(f"/v1/webhook-endpoints/{endpoint['id']}").status_code == 404


def test_the_record_is_kept_for_a_month(client, state, courier):
    endpoint = add(client)
    cancelled_job(client)
    deliver(courier)
    with unit_of_work(state.sessions) as session:
        assert service.forget_old(session) == 0
        long_ago = now() - timedelta(days=31)
        session.execute(update(WebhookDelivery).values(created_at=long_ago))
        assert service.forget_old(session) == 1
    assert deliveries(client, endpoint) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/",
        "ftp://hooks.example/",
        "https:///path",
        "hooks.example",
        "https://user:password@hooks.example/",
        "https://hooks.example/#part",
        "https://hooks.example/a b",
        "https://[::1",
        "https://hooks.example:99999/",
        "https://hooks..example/",
        "https://.hooks.example/",
        f"https://{'a' * 64}.example/",
        "",
    ],
)
def test_addresses_that_are_none_are_refused(client, url):
    response = client.post("/v1/webhook-endpoints", json={"url": url})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/url"


@pytest.mark.parametrize(
    "url", ["https://hooks.example./", "https://[2001:db8::1]:8443/", f"https://{'a' * 63}.example"]
)
def test_addresses_that_look_unusual_are_taken(client, url):
    assert add(client, url=url)["url"] == url


def test_an_event_that_does_not_exist_is_refused(client):
    response = client.post("/v1/webhook-endpoints", json=HOOK | {"events": ["job.done"]})
    assert response.status_code == 422
    assert "job.succeeded" in response.json()["errors"][0]["message"]


def test_through_the_network_private_targets_are_refused_unless_allowed(
    client, state, receiver, settings
):
    free = settings.model_copy(update={"webhook_allow_private": True})
    object.__setattr__(state, "settings", free)
    endpoint = add(client, url=receiver.url)
    cancelled_job(client)
    deliver(Courier(state.sessions, sender(settings)))
    assert receiver.got == []
    assert "may not reach" in deliveries(client, endpoint)[0]["last_error"]
    make_due(state)
    deliver(Courier(state.sessions, sender(free)))
    assert deliveries(client, endpoint)[0]["status"] == "delivered"
    assert json.loads(receiver.got[0][2])["type"] == "job.cancelled"
