"""Messages on their way to the broker: none lost, none locked in."""

import threading
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from kombu import Connection
from sqlalchemy import select, update

from app.jobs import control, leases, reminders
from app.kit import outbox
from app.kit.broker import Bell, Call
from app.kit.clock import now
from app.kit.db import build_sessions, reading, unit_of_work
from app.kit.relay import Relay
from app.main import create_app
from app.migrate import upgrade
from app.models import Job, OutboxMessage
from app.settings import Settings
from tests.app.conftest import FOUR_WORDS, LOCAL, nothing_held, queued
from tests.servers import wait_until


def waiting(sessions) -> list[str]:
    with reading(sessions) as session:
        return list(session.scalars(select(OutboxMessage.job_id)))


def take(connection, queue) -> list[str]:
    found = connection.SimpleQueue(queue, no_ack=True)
    taken = []
    while True:
        try:
            taken.append(found.get(block=False).payload[0][0])
        except found.Empty:
            return taken


def test_a_submitted_job_reaches_the_broker_while_the_api_runs(tmp_path, valkey_url):
    settings = Settings(home=tmp_path, broker_url=valkey_url, queue="relay-test")
    upgrade(settings.resolved_database_url)
    app = create_app(settings)
    with TestClient(app, LOCAL) as client:
        job_id = client.post("/v1/jobs", json=FOUR_WORDS).json()["id"]
        wait_until(lambda: waiting(app.state.dcpi.sessions) == [], "the outbox", 10)
    options = {"global_keyprefix": "dcpi:"}
    with Connection(valkey_url, transport_options=options) as connection:
        assert take(connection, "relay-test") == [job_id]


def test_a_message_arrives_for_each_call_on_the_queue_that_it_names(valkey_url):
    calls = [Call(f"job_{number:03}", f"ring-test-{number % 2}") for number in range(250)]
    Bell(valkey_url)(calls)
    with Connection(valkey_url, transport_options={"global_keyprefix": "dcpi:"}) as connection:
        for queue in ("ring-test-0", "ring-test-1"):
            assert take(connection, queue) == [call.job_id for call in calls if call.queue == queue]


def test_without_any_worker_jobs_expire_and_dead_leases_are_given_up(tmp_path):
    settings = Settings(home=tmp_path, broker_url="redis://127.0.0.1:1/0")
    upgrade(settings.resolved_database_url)
    app = create_app(settings)
    with TestClient(app, LOCAL) as client:
        seeds = {"late": 1, "lost": 2, "cancelled": 3}
        jobs = {
            name: client.post("/v1/jobs", json=FOUR_WORDS | {"seed": seed}).json()["id"]
            for name, seed in seeds.items()
        }
        past = now() - timedelta(seconds=1)
        with unit_of_work(app.state.dcpi.sessions) as session:
            for name in ("lost", "cancelled"):
                leases.claim(session, jobs[name], "worker", 0.0)
            control.cancel(session, jobs["cancelled"])
            late = update(Job).where(Job.id == jobs["late"])
            session.execute(late.values(deadline_at=past, deadline_seconds=1))

        def states() -> list[str]:
            return [client.get(f"/v1/jobs/{job_id}").json()["status"] for job_id in jobs.values()]

        wait_until(lambda: states() == ["expired", "queued", "cancelled"], "the upkeep", 10)


def test_a_duty_that_fails_keeps_nothing_back(state, job_id):
    rung = []

    def fail():
        raise RuntimeError("no")

    relay = Relay(state.sessions, rung.extend, [fail])
    relay.start()
    wait_until(lambda: rung == [Call(job_id, "gpu")], "the call", 10)
    relay.stop()


def test_a_broker_says_how_many_calls_nobody_has_heard(valkey_url):
    bell = Bell(valkey_url)
    bell([Call(f"job_{number}", "unheard-test") for number in range(3)])
    assert bell.unheard(["unheard-test", "silent-test"]) == {"unheard-test": 3, "silent-test": 0}
    with Connection(valkey_url, transport_options={"global_keyprefix": "dcpi:"}) as connection:
        assert len(take(connection, "unheard-test")) == 3
    assert bell.unheard(["unheard-test"]) == {"unheard-test": 0}


def test_a_broker_gets_no_more_calls_than_jobs_wait(each_engine, valkey_url):
    sessions, bell = build_sessions(each_engine), Bell(valkey_url)
    queues = {"many-test": 3, "other-test": 1}
    with unit_of_work(sessions) as session:
        for queue, count in queues.items():
            for number in range(count):
                job = queued(f"{queue}-{number}")
                job.queue = queue
                session.add(job)
    rung = []
    for _ in range(3):  # as after an hour each: nobody takes a job meanwhile
        with unit_of_work(sessions) as session:
            long_ago = now() - timedelta(hours=1)
            session.execute(update(Job).values(queued_at=long_ago, ring_at=long_ago))
        rung.append(reminders.ring_again(sessions, 60, bell.unheard))
        outbox.relay(sessions, bell)
    assert (rung, bell.unheard(queues)) == ([4, 0, 0], queues)
    with Connection(valkey_url, transport_options={"global_keyprefix": "dcpi:"}) as connection:
        taken = connection.SimpleQueue("many-test", no_ack=True)
        taken.get(block=False)  # whoever took it died before it claimed a job
    with unit_of_work(sessions) as session:
        session.execute(update(Job).values(ring_at=long_ago))
    assert reminders.ring_again(sessions, 60, bell.unheard) == 1
    outbox.relay(sessions, bell)
    assert bell.unheard(queues) == queues
    with Connection(valkey_url, transport_options={"global_keyprefix": "dcpi:"}) as connection:
        assert [len(take(connection, queue)) for queue in queues] == [3, 1]


def test_a_broker_that_is_down_is_not_reminded(state, job_id):
    def down(_queues):
        raise ConnectionError

    outbox.relay(state.sessions, lambda *_: None)
    with pytest.raises(ConnectionError):
        reminders.ring_again(state.sessions, 0.001, down)
    assert waiting(state.sessions) == []
    assert reminders.ring_again(state.sessions, 0.001, nothing_held) == 1, "its turn is not lost"


def test_a_broker_that_is_down_refuses_no_job(tmp_path):
    settings = Settings(home=tmp_path, broker_url="redis://127.0.0.1:1/0")
    upgrade(settings.resolved_database_url)
    app = create_app(settings)
    with TestClient(app, LOCAL) as client:
        response = client.post("/v1/jobs", json=FOUR_WORDS)
        assert response.status_code == 202
        assert waiting(app.state.dcpi.sessions) == [response.json()["id"]]


def test_the_database_is_free_while_the_broker_is_spoken_to(state, job_id):
    written = []

    def publish(*_):
        def write():
            with unit_of_work(state.sessions) as session:
                session.execute(update(Job).values(name="written meanwhile"))
            written.append(True)

        thread = threading.Thread(target=write)
        thread.start()
        thread.join(5)

    assert outbox.relay(state.sessions, publish) == 1
    assert written == [True]


def test_what_one_relay_has_taken_no_other_sends(state, job_id):
    inner = []

    def publish(*_):
        inner.append(outbox.relay(state.sessions, lambda *_: None))

    assert outbox.relay(state.sessions, publish) == 1
    assert inner == [0]


def test_many_relays_at_once_send_each_message_once(each_engine):
    sessions = build_sessions(each_engine)
    jobs = [f"job_{number:03}" for number in range(250)]
    with unit_of_work(sessions) as session:
        session.add_all(queued(job_id) for job_id in jobs)
        session.flush()
        for job_id in jobs:
            outbox.ring(session, job_id, "gpu")
    sent = []

    def empty():
        while outbox.relay(sessions, lambda calls: sent.extend(call.job_id for call in calls)):
            pass

    def together(act):
        threads = [threading.Thread(target=act) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    together(empty)
    assert sorted(sent) == jobs
    sent.clear()
    together(lambda: reminders.ring_again(sessions, 0.001, nothing_held))
    together(empty)
    assert len(sent) == len(set(sent)) >= outbox.BATCH


def test_what_may_not_have_been_sent_is_sent_again(client, state):
    jobs = [client.post("/v1/jobs", json=FOUR_WORDS | {"seed": n}).json()["id"] for n in range(3)]
    sent = []

    def fails_at_the_second(calls):
        sent.append(calls[0].job_id)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        outbox.relay(state.sessions, fails_at_the_second)
    assert waiting(state.sessions) == jobs
    outbox.relay(state.sessions, lambda calls: sent.extend(call.job_id for call in calls))
    assert sent == [jobs[0], *jobs]
    assert waiting(state.sessions) == []


def test_reminders_become_rarer_and_never_pile_up(state, job_id):
    # its message is not yet sent
    assert reminders.ring_again(state.sessions, 0.001, nothing_held) == 0
    outbox.relay(state.sessions, lambda *_: None)
    assert reminders.ring_again(state.sessions, 0.001, nothing_held) == 1
    assert reminders.ring_again(state.sessions, 0.001, nothing_held) == 0
    outbox.relay(state.sessions, lambda *_: None)
    with reading(state.sessions) as session:
        job = session.get(Job, job_id)
        pause = (job.ring_at - job.queued_at).total_seconds()
    assert 0.001 <= pause < 60


def test_reading_waits_for_no_writer(client, state, job_id):
    answers = []
    with unit_of_work(state.sessions) as session:
        session.execute(update(Job).values(name="not yet committed"))
        ask = threading.Thread(target=lambda: answers.append(client.get(f"/v1/jobs/{job_id}")))
        ask.start()
        ask.join(5)
    assert [answer.json()["name"] for answer in answers] == [None]
