"""What a worker does besides its job."""

import os
import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.jobs import control, leases
from app.jobs.checkpoints import key_of
from app.kit.clock import now
from app.kit.db import reading, unit_of_work
from app.models import DEFAULT_TENANT, IdempotencyKey, Job
from app.removal import service as removal
from tests.worker.waiting import until
from worker.housekeeping import Housekeeper


@pytest.fixture
def keeper(desk) -> Housekeeper:
    return Housekeeper(desk.tools)


def claim_and_expire(desk) -> str:
    job_id = desk.submit()
    with unit_of_work(desk.tools.sessions) as session:
        leases.claim(session, job_id, "host", 60.0)
        past = now() - timedelta(seconds=1)
        session.execute(update(Job).where(Job.id == job_id).values(lease_expires_at=past))
    return job_id


def put(desk, job_id: str) -> None:
    file = desk.folder / "checkpoint"
    file.touch()
    desk.tools.storage.put_file(key_of(job_id), file)


def test_a_dead_lease_is_given_up(desk, keeper):
    job_id = claim_and_expire(desk)
    keeper.upkeep.reap()
    keeper.upkeep.reap()
    assert (desk.job(job_id).status, desk.rung()) == ("queued", [job_id])


def test_a_job_that_was_forgotten_is_rung_for(desk, keeper):
    job_id = desk.submit()
    keeper.upkeep.remind()
    assert desk.rung() == []
    past = now() - timedelta(seconds=3600)
    desk.change(lambda session: session.execute(update(Job).values(queued_at=past)))
    keeper.upkeep.remind()
    assert desk.rung() == [job_id]


def test_checkpoints_are_kept_for_a_retry_and_deleted_later(desk, keeper):
    ended, waiting = desk.run("fault"), desk.submit()
    for job_id in (ended, waiting):
        put(desk, job_id)
    keeper.sweep_checkpoints()
    assert desk.objects("checkpoints") == sorted([key_of(ended), key_of(waiting)])
    hours = desk.tools.settings.keep_checkpoints_hours
    long_ago = now() - timedelta(hours=hours, minutes=1)
    values = {"finished_at": long_ago}
    desk.change(lambda s: s.execute(update(Job).where(Job.id == ended).values(values)))
    keeper.sweep_checkpoints()
    assert desk.objects("checkpoints") == [key_of(waiting)]


def test_a_checkpoint_of_a_finished_job_is_of_no_use(desk, keeper):
    desk.write_bundle()
    put(desk, desk.run("finish"))
    keeper.sweep_checkpoints()
    assert desk.objects("checkpoints") == []


def test_a_checkpoint_that_was_stored_after_its_job_was_deleted_is_deleted(desk, keeper):
    deleted, waiting = desk.submit(seed=1), desk.submit(seed=2)
    desk.change(lambda session: control.cancel(session, deleted))
    desk.change(lambda session: removal.delete_job(session, deleted))
    keeper.erase()
    for job_id in (deleted, waiting):
        put(desk, job_id)
    keeper.sweep_checkpoints()
    assert desk.objects("checkpoints") == [key_of(waiting)]


def test_a_job_that_waits_beyond_its_deadline_expires(desk, keeper):
    late, paused, early = (desk.submit(deadline_seconds=60, seed=seed) for seed in range(3))
    desk.change(lambda session: control.pause(session, paused))
    past = {"deadline_at": now() - timedelta(seconds=1)}
    missed = update(Job).where(Job.id.in_([late, paused])).values(past)
    desk.change(lambda session: session.execute(missed))
    keeper.upkeep.expire()
    assert [desk.job(job_id).status for job_id in (late, paused)] == ["expired", "expired"]
    assert desk.job(early).status == "queued"
    assert desk.job(late).error_code == "deadline_passed"
    assert "60 seconds" in desk.job(late).error_detail


def test_uploads_that_a_killed_process_left_are_deleted(desk, keeper):
    home = desk.tools.settings.home
    left, running = home / "upload-left", home / "upload-running"
    for folder in (left, running):
        folder.mkdir()
        (folder / "archive").write_bytes(b"x")
    old = time.time() - desk.tools.settings.inspect_seconds - 2 * 3600
    os.utime(left, (old, old))
    keeper.sweep_places()
    assert (left.exists(), running.exists()) == (False, True)


def test_expired_idempotency_keys_are_forgotten(desk, keeper):
    def key(name, age):
        created = now() - timedelta(hours=age)
        return IdempotencyKey(
            tenant_id=DEFAULT_TENANT,
            operation="createJob",
            key=name,
            fingerprint="",
            answer={},
            created_at=created,
        )

    desk.change(lambda session: session.add_all([key("old", 25), key("young", 23)]))
    keeper.sweep_keys()
    with reading(desk.tools.sessions) as session:
        assert session.scalars(select(IdempotencyKey.key)).all() == ["young"]


def test_a_backlog_of_old_jobs_is_deleted_round_by_round(desk, monkeypatch):
    kept = desk.tools.settings.model_copy(update={"retention_days": 30})
    desk.tools = replace(desk.tools, settings=kept)
    keeper = Housekeeper(desk.tools)
    monkeypatch.setattr(removal, "BATCH", 2)
    old = [desk.submit(seed=seed) for seed in range(5)]
    for job_id in old:
        desk.cancel(job_id)
    long_ago = now() - timedelta(days=31)
    desk.change(lambda session: session.execute(update(Job).values(finished_at=long_ago)))

    def left() -> int:
        keeper.round()
        with reading(desk.tools.sessions) as session:
            return len(session.scalars(select(Job.id)).all())

    assert [left() for _ in range(3)] == [3, 1, 0]


def test_one_duty_that_fails_does_not_stop_the_others(desk, keeper, monkeypatch):
    def fail():
        raise RuntimeError("no")

    fail.__name__ = "reap"
    monkeypatch.setattr(keeper.upkeep, "reap", fail)
    desk.write_bundle()
    put(desk, desk.run("finish"))
    keeper.round()  # relaying fails too: there is no broker
    assert desk.objects("checkpoints") == []


def test_rounds_go_on_until_the_stop(desk, keeper):
    stop = threading.Event()
    thread = threading.Thread(target=keeper.run, args=(stop, 0.05))
    thread.start()
    job_id = claim_and_expire(desk)
    until(lambda: desk.job(job_id).status == "queued")
    stop.set()
    thread.join(timeout=5)
    assert not thread.is_alive()
