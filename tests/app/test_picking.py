"""Whose turn it is: owners take turns, priorities order each owner's own queue."""

import random
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.jobs import leases, picking, submission
from app.kit.clock import now
from app.kit.db import build_sessions, reading, unit_of_work
from app.models import Job, Tenant
from tests.app.conftest import FOUR_WORDS, queued


@pytest.fixture
def sessions(each_engine):
    return build_sessions(each_engine)


def submit(sessions, *jobs):
    """Jobs as (id, tenant, priority), added in any order: ids say what came first."""
    with unit_of_work(sessions) as session:
        for tenant_id in {tenant_id for _, tenant_id, _ in jobs}:
            session.merge(Tenant(id=tenant_id, name=tenant_id, created_at=now()))
        session.flush()
        for job_id, tenant_id, priority in random.sample(jobs, len(jobs)):
            job = queued(job_id)
            job.tenant_id, job.priority = tenant_id, priority
            session.add(job)


def take(sessions, queue="gpu"):
    return picking.claim_next(sessions, queue, "worker", 60.0)


def end(sessions, lease):
    with unit_of_work(sessions) as session:
        assert leases.fail(session, lease, "code", "detail")


def drained(sessions) -> list[str]:
    """All jobs in the order in which one worker gets them."""
    order = []
    while lease := take(sessions):
        order.append(lease.job_id)
        end(sessions, lease)
    return order


def test_one_owner_is_served_by_priority_then_age(sessions):
    submit(sessions, ("a1", "", 0), ("a2", "", -1), ("a3", "", 1), ("a4", "", 0), ("a5", "", 1))
    assert drained(sessions) == ["a3", "a5", "a1", "a4", "a2"]


def test_a_long_queue_of_one_owner_does_not_detain_another(sessions):
    greedy = [(f"a{number}", "ann", 1) for number in range(6)]
    submit(sessions, *greedy, ("b1", "bob", -1), ("b2", "bob", 0))
    order = drained(sessions)
    assert [job_id[0] for job_id in order[:4]] == ["a", "b", "a", "b"]
    assert order[1] == "b2", "priorities count within an owner's queue"


def test_with_several_workers_owners_get_equal_shares(sessions):
    submit(sessions, *[(f"{owner}{i}", owner, 0) for owner in "abc" for i in range(4)])
    running = [take(sessions).job_id[0] for _ in range(6)]
    assert sorted(running) == ["a", "a", "b", "b", "c", "c"]


def test_other_queues_and_held_back_jobs_are_left_alone(sessions):
    submit(sessions, ("a1", "", 0), ("a2", "", 0))
    with unit_of_work(sessions) as session:
        later = now() + timedelta(seconds=60)
        session.execute(update(Job).where(Job.id == "a1").values(not_before=later))
    assert take(sessions, "cpu") is None
    assert take(sessions).job_id == "a2"
    assert take(sessions) is None


def test_a_job_that_broke_is_held_back_for_its_pause(sessions):
    submit(sessions, ("a1", "", 0))
    lease = take(sessions)
    with unit_of_work(sessions) as session:
        leases.release(session, lease, max_attempts=3, reason="broke", pause_seconds=60)
    assert take(sessions) is None


def test_a_tenant_at_its_limit_is_let_go_before_the_next_is_locked(sessions, monkeypatch):
    submit(sessions, ("a1", "ann", 0), ("b1", "bob", 0))
    with unit_of_work(sessions) as session:
        session.execute(update(Tenant).values(max_running_jobs=0))
    usual, asked = leases.is_held, []

    def is_held(session, job_id):
        asked.append(job_id)
        with reading(sessions) as other:  # SQLite does not lock rows
            other.scalars(select(Tenant).with_for_update(nowait=True)).all()
        return usual(session, job_id)

    monkeypatch.setattr(leases, "is_held", is_held)
    assert take(sessions) is None
    assert asked == ["a1", "b1"]


def test_a_long_queue_is_counted_once_a_second(client, monkeypatch):
    monkeypatch.setattr(submission, "_long", {})
    monkeypatch.setattr(submission.picking, "MOST_AHEAD", 0)  # any queue is that long
    monkeypatch.setattr(submission, "LONG_SECONDS", 3600.0)
    counted = client.post("/v1/jobs", json=FOUR_WORDS).json()
    believed = client.post("/v1/jobs", json=FOUR_WORDS).json()
    assert (counted["queue_ahead"], believed["queue_ahead"]) == (0, 1000)
    assert client.get(believed["urls"]["self"]).json()["queue_ahead"] == 1, "who looks is told"
    other = client.post("/v1/jobs", json=FOUR_WORDS | {"priority": "low"}).json()
    assert other["queue_ahead"] == 2, "a queue is that of a priority"


def test_a_place_in_the_queue_counts_what_is_served_before(sessions):
    submit(sessions, ("a1", "ann", 0), ("a2", "ann", 1), ("a3", "ann", 0), ("b1", "bob", 1))
    with sessions() as session:
        places = {i: picking.ahead_of(session, session.get(Job, i)) for i in ("a1", "a2", "a3")}
    assert places == {"a2": 0, "a1": 1, "a3": 2}
