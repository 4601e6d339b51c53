import threading
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.jobs import attempts, leases, reminders
from app.jobs.leases import Wanted
from app.jobs.states import Status
from app.kit import outbox
from app.kit.clock import now
from app.kit.db import build_sessions, unit_of_work
from app.models import Job, OutboxMessage
from tests.app.conftest import nothing_held, queued, result


@pytest.fixture
def sessions(state):
    return state.sessions


def job_of(sessions, job_id) -> Job:
    with sessions() as session:
        return session.get(Job, job_id)


def claim(sessions, job_id, seconds=60.0):
    with unit_of_work(sessions) as session:
        return leases.claim(session, job_id, "worker", seconds)


def expire(sessions, job_id):
    with unit_of_work(sessions) as session:
        past = now() - timedelta(seconds=1)
        session.execute(update(Job).where(Job.id == job_id).values(lease_expires_at=past))


def test_of_many_claimants_exactly_one_succeeds(each_engine):
    sessions = build_sessions(each_engine)
    job_ids = [f"job_{number}" for number in range(10)]
    with unit_of_work(sessions) as session:
        session.add_all(queued(job_id) for job_id in job_ids)
    won: list[str] = []

    def work():
        won.extend(job_id for job_id in job_ids if claim(sessions, job_id) is not None)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(job_ids)


def test_a_claim_is_seen_and_counted(sessions, job_id):
    lease = claim(sessions, job_id)
    job = job_of(sessions, job_id)
    assert (job.status, job.attempt, lease.attempt) == ("running", 1, 1)
    assert claim(sessions, job_id) is None


def test_who_lost_the_lease_can_write_nothing(sessions, job_id):
    old = claim(sessions, job_id)
    expire(sessions, job_id)
    with unit_of_work(sessions) as session:
        assert leases.reap(session, 3) == [job_id]
    new = claim(sessions, job_id)
    with unit_of_work(sessions) as session:
        assert leases.heartbeat(session, old, {"phase": "base"}) is Wanted.FENCED
        assert not leases.finish(session, old, result(job_id))
        assert not leases.fail(session, old, "x", "y")
        assert not leases.cancelled(session, old)
        assert leases.release(session, old, max_attempts=3, reason="z") is None
        assert not leases.hand_over(session, old)
        assert leases.heartbeat(session, new) is Wanted.CONTINUE
    assert (job_of(sessions, job_id).status, new.attempt) == ("running", 2)


def test_a_heartbeat_keeps_the_lease_and_records_progress(sessions, job_id):
    lease = claim(sessions, job_id, seconds=0.0)
    progress = {"phase": "base", "step": 1, "total_steps": 2, "fraction": 0.5}
    with unit_of_work(sessions) as session:
        assert leases.heartbeat(session, leases.Lease(job_id, lease.token, 1, 60), progress)
        assert leases.reap(session, 3) == []
    assert job_of(sessions, job_id).progress == progress


def test_attempts_run_out(sessions, job_id):
    for attempt in (1, 2, 3):
        assert claim(sessions, job_id).attempt == attempt
        expire(sessions, job_id)
        with unit_of_work(sessions) as session:
            leases.reap(session, 3)
    job = job_of(sessions, job_id)
    assert (job.status, job.error_code) == ("crashed", "attempts_exhausted")
    assert job.finished_at is not None


def test_handing_over_costs_no_attempt(sessions, job_id):
    for _ in range(5):
        lease = claim(sessions, job_id)
        assert lease.attempt == 1
        with unit_of_work(sessions) as session:
            assert leases.hand_over(session, lease)
    assert job_of(sessions, job_id).status == "queued"


def test_pausing_costs_no_attempt(client, sessions, job_id):
    for _ in range(3):
        lease = claim(sessions, job_id)
        assert lease.attempt == 1
        client.post(f"/v1/jobs/{job_id}/pause")
        with unit_of_work(sessions) as session:
            assert leases.stop(session, lease, Status.PAUSED) is Status.PAUSED
        client.post(f"/v1/jobs/{job_id}/resume")
    claim(sessions, job_id)
    expire(sessions, job_id)
    with unit_of_work(sessions) as session:
        leases.reap(session, 2)
    assert job_of(sessions, job_id).status == "queued", "the first that broke"


def test_a_lost_worker_of_a_cancelled_job_ends_it(client, sessions, job_id):
    claim(sessions, job_id)
    client.post(f"/v1/jobs/{job_id}/cancel")
    expire(sessions, job_id)
    with unit_of_work(sessions) as session:
        leases.reap(session, 3)
    assert job_of(sessions, job_id).status == "cancelled"


def test_a_result_and_its_job_appear_together(client, sessions, job_id):
    lease = claim(sessions, job_id)
    with unit_of_work(sessions) as session:
        assert leases.finish(session, lease, result(job_id))
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert job["status"] == "succeeded"
    assert client.get(job["urls"]["result"]).json()["job_id"] == job_id


def test_giving_back_rings_again(sessions, job_id):
    lease = claim(sessions, job_id)
    assert outbox.relay(sessions, lambda *_: None) == 1
    with unit_of_work(sessions) as session:
        leases.release(session, lease, max_attempts=3, reason="died")
    rung = []
    outbox.relay(sessions, rung.extend)
    assert rung == [(job_id, "gpu")]


def test_a_broker_that_is_down_loses_no_message(sessions, job_id):
    def down(*_):
        raise ConnectionError

    with pytest.raises(ConnectionError):
        outbox.relay(sessions, down)
    with sessions() as session:
        assert session.scalars(select(OutboxMessage.job_id)).all() == [job_id]


def test_jobs_that_the_broker_forgot_are_rung_for_again(sessions, job_id):
    outbox.relay(sessions, lambda *_: None)
    assert reminders.ring_again(sessions, 60, nothing_held) == 0
    assert reminders.ring_again(sessions, 0, nothing_held) == 1
    assert outbox.relay(sessions, lambda *_: None) == 1


def test_attempts_that_ended_for_one_reason_are_counted_from_the_last(sessions, job_id):
    def gave_back(why) -> None:
        lease = claim(sessions, job_id)
        with unit_of_work(sessions) as session:
            leases.hand_over(session, lease, why)

    away, other = leases.Why("storage_away", "away"), leases.Why(None, None)
    counts = []
    for why in (away, away, other, away, leases.SHUTDOWN, away, away):
        gave_back(why)
        with unit_of_work(sessions) as session:
            counts.append(attempts.in_a_row(session, job_id, "storage_away"))
    claim(sessions, job_id)  # the attempt that goes on has no reason yet
    with unit_of_work(sessions) as session:
        counts.append(attempts.in_a_row(session, job_id, "storage_away"))
    assert counts == [1, 2, 0, 1, 0, 1, 2, 2]
