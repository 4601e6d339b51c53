"""Every way an attempt can end, with a scripted child."""

import errno
import gc
import itertools
import os
import signal
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from obstore.exceptions import GenericError
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError

from app.jobs import control, leases
from app.jobs.checkpoints import key_of
from app.kit.db import unit_of_work
from app.kit.storage import Storage
from app.models import DEFAULT_TENANT, Dataset, Job, OutboxMessage
from dcpi_core.spec.catalog import load_catalog
from tests.worker.waiting import until
from worker import kernel, settlement
from worker.housekeeping import Housekeeper
from worker.supervisor import Supervisor, runner_command

CPU, GPU = {"queue": "cpu"}, {"queue": "gpu"}


def test_a_job_succeeds(desk):
    desk.write_bundle()
    job_id = desk.run("finish")
    job, (row,) = desk.job(job_id), desk.condensed()
    assert (job.status, job.condensed_id, job.attempt) == ("succeeded", row.id, 1)
    assert (row.job_id, row.top1) == (job_id, 0.75)
    stored = {f"condensed/{row.id}/{file['path']}" for file in row.files}
    assert set(desk.objects("condensed")) == stored
    assert len(stored) == 4
    assert desk.objects("checkpoints") == []
    assert desk.workspaces() == []


def test_progress_is_throttled_and_every_phase_reaches_its_end(desk):
    desk.write_bundle()
    job_id = desk.run("finish")
    steps = [event.data for event in desk.events(job_id, "progress")]
    assert len(steps) < 20, "a hundred lines came within a moment"
    ends = [data["phase"] for data in steps if data["step"] == data["total_steps"]]
    assert ends == ["prepare", "base", "privileged", "evaluate", "package"]
    assert desk.job(job_id).progress == steps[-1]
    assert steps[-1]["fraction"] == 1.0
    assert steps[-1]["metrics"] == {"loss": 0.5}


def test_events_tell_the_story_in_order(desk):
    desk.write_bundle()
    job_id = desk.run("finish")
    events = desk.events(job_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    told = [event.data["status"] for event in events if event.type == "status"]
    assert told == ["queued", "running", "succeeded"]
    assert events[-1].type == "status"


def test_a_message_for_a_finished_job_does_nothing(desk):
    desk.write_bundle()
    job_id = desk.run("finish")
    before = len(desk.events(job_id))
    desk.run("finish", job_id)
    assert desk.starts() == 1
    assert len(desk.events(job_id)) == before


def test_a_message_for_a_running_job_does_nothing(desk):
    job_id = desk.submit()
    thread = desk.run_aside("wait", job_id)
    until(lambda: desk.starts() == 1)
    desk.run("finish", job_id)
    assert desk.job(job_id).status == "running"
    desk.stop.set()
    thread.join()
    assert desk.starts() == 1


def test_a_message_for_no_job_does_nothing(desk):
    desk.run("finish", "job_00000000000000000000000000")
    assert desk.starts() == 0


def test_the_jobs_own_fault_is_final_and_told(desk):
    job = desk.job(desk.run("fault"))
    assert (job.status, job.error_code) == ("failed", "training_diverged")
    assert job.error_detail == "loss became NaN; lower the learning rate"
    assert desk.rung() == []


@pytest.fixture(params=["counts", "says nothing"])
def kernel_kills(request, monkeypatch):
    """The kernel counts a kill for want of memory during every attempt, or counts none at all."""
    counted = itertools.count().__next__ if request.param == "counts" else lambda: None
    monkeypatch.setattr(kernel, "out_of_memory_kills", counted)


@pytest.mark.parametrize("scene", ["memory", "killed"])
def test_want_of_memory_is_answered_by_a_smaller_attempt(desk, scene, kernel_kills):
    desk.write_bundle()
    job_id = desk.run(scene)
    assert (desk.job(job_id).status, desk.rung()) == ("queued", [job_id])
    desk.run("show shrink", job_id)
    assert desk.logged(job_id) == ["shrink 1"]
    assert desk.job(job_id).status == "succeeded"
    tried = [(row.number, row.shrink, row.outcome, row.code) for row in desk.attempts(job_id)]
    assert tried == [(1, 0, "queued", "out_of_memory"), (2, 1, "succeeded", None)]


def test_a_kill_that_was_not_for_want_of_memory_leaves_the_job_its_size(desk, monkeypatch):
    monkeypatch.setattr(kernel, "out_of_memory_kills", lambda: 7)
    job_id = desk.run("killed")
    (row,) = desk.attempts(job_id)
    assert (row.code, row.outcome, desk.job(job_id).shrink) == ("worker_error", "queued", 0)


def test_a_job_that_is_too_large_at_any_size_has_failed(desk):
    job_id = desk.run("memory")
    desk.run("memory", job_id)
    job = desk.job(job_id)
    assert (job.status, job.error_code) == ("failed", "out_of_memory")
    assert "smaller" in job.error_detail
    assert [row.outcome for row in desk.attempts(job_id)] == ["queued", "failed"]


def test_only_want_of_memory_makes_a_job_smaller(desk):
    job_id = desk.run("crash")
    assert desk.job(job_id).shrink == 0
    (row,) = desk.attempts(job_id)
    assert (row.code, row.outcome) == ("worker_error", "queued")
    assert "ValueError: a bug" in row.detail


@pytest.mark.parametrize("scene", ["crash", "killed", "137", "silent exit"])
def test_other_ends_are_worth_another_attempt(desk, scene):
    job_id = desk.run(scene)
    assert (desk.job(job_id).status, desk.rung()) == ("queued", [job_id])


def test_attempts_come_to_an_end(desk):
    job_id = desk.run("crash")
    desk.run("crash", job_id)
    job = desk.job(job_id)
    assert (job.status, job.attempt, desk.starts()) == ("crashed", 2, 2)
    assert "ValueError: a bug" in job.error_detail
    assert desk.objects("checkpoints") == [key_of(job_id)], "a retry may go on from it"


def test_pauses_between_many_attempts_stop_growing(desk):
    patient = desk.tools.settings.model_copy(update={"retry_seconds": 2.0, "max_attempts": 1000})
    desk.tools = replace(desk.tools, settings=patient)
    job_id = desk.submit()
    asked_for = []
    for attempt in (0, 1, 2, 900):
        ready = {"attempt": attempt, "not_before": None}
        desk.change(lambda session, to=ready: session.execute(update(Job).values(to)))
        desk.run("crash", job_id)
        job = desk.job(job_id)
        asked_for.append((job.not_before - job.queued_at).total_seconds())
    assert asked_for == [2, 8, 32, 32]


def test_a_storage_that_is_away_uses_up_no_attempts(desk, monkeypatch):
    def away(*_):
        raise GenericError("nobody there")

    desk.write_bundle()
    job_id = desk.submit()
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "get_file", away)
        for _ in range(desk.tools.settings.max_attempts + 2):
            desk.run("finish", job_id)
    assert (desk.job(job_id).status, desk.starts()) == ("queued", 0)
    assert {(row.outcome, row.code) for row in desk.attempts(job_id)} == {
        ("queued", "storage_error")
    }
    desk.run("finish", job_id)
    assert (desk.job(job_id).status, desk.job(job_id).attempt) == ("succeeded", 1)


@pytest.mark.parametrize("where", ["workspace", "dataset"])
def test_a_worker_without_a_disk_uses_up_no_attempts(desk, monkeypatch, where):
    """Neither where it cannot make a directory nor where nothing more fits into it."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "/home/us/.secret")

    desk.write_bundle()
    job_id, work = desk.submit(), desk.tools.settings.home / "work"
    with monkeypatch.context() as patch:
        if where == "workspace":
            work.write_text("no directory")
        else:
            patch.setattr(Storage, "get_file", full)
        for _ in range(desk.tools.settings.max_attempts + 1):
            desk.run("finish", job_id)
    assert (desk.job(job_id).status, desk.starts()) == ("queued", 0)
    assert {(row.outcome, row.code) for row in desk.attempts(job_id)} == {
        ("queued", "no_workspace")
    }
    assert "no disk to work on (N" in desk.attempts(job_id)[0].detail
    if where == "workspace":
        work.unlink()
    desk.run("finish", job_id)
    assert (desk.job(job_id).status, desk.job(job_id).attempt) == ("succeeded", 1)


def test_a_storage_that_stays_away_is_asked_less_and_less(desk, monkeypatch):
    def away(*_):
        raise GenericError("nobody there")

    patient = desk.tools.settings.model_copy(update={"retry_seconds": 2.0})
    desk.tools = replace(desk.tools, settings=patient)
    monkeypatch.setattr(Storage, "get_file", away)
    job_id = desk.submit()
    asked_for = []
    for _ in range(4):
        desk.change(lambda session: session.execute(update(Job).values(not_before=None)))
        desk.run("finish", job_id)
        job = desk.job(job_id)
        asked_for.append((job.not_before - job.queued_at).total_seconds())
    assert asked_for == [2, 8, 32, 32]


def test_last_words_are_fit_to_be_shown(desk):
    job_id = desk.run("mutter")
    desk.run("mutter", job_id)
    told = desk.job(job_id).error_detail
    assert "FileNotFoundError: \ufffd \ufffd no '[path]' there" in told
    reasons = [event.data.get("reason", "") for event in desk.events(job_id, "status")]
    assert "secret" not in told + "".join(reasons)


def test_a_reason_that_no_database_takes_is_mended(desk):
    job = desk.job(desk.run("odd fault"))
    assert (job.status, job.error_detail) == ("failed", "a NUL \ufffd in the text")


@pytest.mark.parametrize("scene", ["killed", "137"])
def test_a_child_killed_again_and_again_wanted_too_much_memory(desk, scene, kernel_kills):
    job_id = desk.run(scene)
    desk.run(scene, job_id)
    job = desk.job(job_id)
    assert (job.status, job.error_code) == ("failed", "out_of_memory")
    assert "smaller" in job.error_detail


def test_what_a_crashed_child_had_done_is_kept(desk):
    desk.write_bundle()
    job_id = desk.run("crash")
    assert desk.objects("checkpoints") == [key_of(job_id)]
    desk.run("resume", job_id)
    assert desk.logged(job_id) == ["before the crash"]
    assert desk.job(job_id).status == "succeeded"
    assert desk.objects("checkpoints") == []


def test_a_checkpoint_that_cannot_be_read_is_dropped(desk):
    desk.write_bundle()
    job_id = desk.run("crash")
    desk.tools.settings.__dict__["max_attempts"] = 3
    desk.run("bad checkpoint", job_id)
    assert (desk.job(job_id).status, desk.objects("checkpoints")) == ("queued", [])
    desk.run("resume", job_id)
    assert desk.logged(job_id) == ["from the beginning"]
    assert desk.job(job_id).status == "succeeded"


def test_a_checkpoint_of_other_code_is_dropped_and_costs_no_attempt(desk):
    job_id = desk.run("crash")
    before = desk.job(job_id).attempt
    desk.run("old checkpoint", job_id)
    job = desk.job(job_id)
    assert (job.status, job.attempt, desk.objects("checkpoints")) == ("queued", before, [])


@pytest.mark.parametrize("scene", ["wait", "deaf"])
def test_cancelling_takes_less_than_five_seconds(desk, scene):
    job_id = desk.submit()
    thread = desk.run_aside(scene, job_id)
    until(lambda: desk.events(job_id, "progress"))
    began = time.monotonic()
    desk.cancel(job_id)
    thread.join()
    assert time.monotonic() - began < 5.0
    assert desk.job(job_id).status == "cancelled"
    assert desk.workspaces() == []  # what was stored meanwhile stays, for a retry


def test_a_pause_keeps_the_work_and_a_resumed_job_goes_on_from_it(desk):
    desk.write_bundle()
    job_id = desk.submit()
    thread = desk.run_aside("wait", job_id)
    until(lambda: desk.events(job_id, "progress"))
    desk.change(lambda session: control.pause(session, job_id))
    assert desk.job(job_id).status == "pausing"
    thread.join(timeout=10)
    assert (desk.job(job_id).status, desk.rung()) == ("paused", [])
    desk.run("resume", job_id)
    assert desk.starts() == 1, "a paused job is not claimed"
    desk.change(lambda session: control.resume(session, job_id))
    assert desk.rung() == [job_id]
    desk.run("resume", job_id)
    assert desk.logged(job_id) == ["stopped at step 1"]
    assert desk.job(job_id).status == "succeeded"


def test_a_job_cancelled_while_it_pauses_is_cancelled(desk):
    job_id = desk.submit()
    thread = desk.run_aside("deaf", job_id, preempted=1.0)
    until(lambda: desk.events(job_id, "progress"))
    desk.change(lambda session: control.pause(session, job_id))
    desk.cancel(job_id)
    thread.join(timeout=10)
    assert desk.job(job_id).status == "cancelled"


def test_a_deadline_ends_a_running_job_and_a_retry_goes_on_from_there(desk):
    desk.write_bundle()
    job_id = desk.submit(deadline_seconds=3600)
    thread = desk.run_aside("wait", job_id)
    until(lambda: desk.events(job_id, "progress"))
    past = update(Job).where(Job.id == job_id).values(deadline_at=datetime.now(UTC))
    desk.change(lambda session: session.execute(past))
    thread.join(timeout=10)
    job = desk.job(job_id)
    assert (job.status, job.error_code) == ("expired", "deadline_passed")
    desk.change(lambda session: control.retry(session, job_id, from_checkpoint=True))
    desk.run("resume", job_id)
    assert desk.logged(job_id) == ["stopped at step 1"]
    assert desk.job(job_id).status == "succeeded"


def test_a_lost_lease_ends_the_child_and_writes_nothing(desk):
    job_id = desk.submit()
    thread = desk.run_aside("hang", job_id)
    until(lambda: desk.events(job_id, "progress"))
    theirs = update(Job).where(Job.id == job_id).values(lease_token="theirs")
    desk.change(lambda session: session.execute(theirs))
    before = len(desk.events(job_id))
    thread.join(timeout=5)
    assert not thread.is_alive()
    job = desk.job(job_id)
    assert (job.status, job.lease_token) == ("running", "theirs")
    assert len(desk.events(job_id)) == before
    assert desk.objects("checkpoints") == []


def test_a_lease_lost_while_the_bundle_is_stored_leaves_no_files(desk, monkeypatch):
    desk.write_bundle()
    job_id = desk.submit()
    put = Storage.put_file

    def lose(storage, key, path):
        put(storage, key, path)
        theirs = update(Job).where(Job.id == job_id).values(lease_token="theirs")
        desk.change(lambda session: session.execute(theirs))

    monkeypatch.setattr(Storage, "put_file", lose)
    desk.run("finish", job_id)
    Housekeeper(desk.tools).erase()
    assert desk.objects("condensed") == []
    assert desk.condensed() == []
    assert desk.job(job_id).status == "running"


def test_a_worker_killed_while_the_bundle_is_stored_leaves_no_files(desk, monkeypatch):
    class Killed(BaseException):
        """Nothing in the worker handles it, as nothing handles kill -9."""

    desk.write_bundle()
    job_id = desk.submit()
    put = Storage.put_file

    def die(storage, key, path):
        put(storage, key, path)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "put_file", die)
        with pytest.raises(Killed):
            desk.run("finish", job_id)
    keeper = Housekeeper(desk.tools)
    keeper.erase()
    assert len(desk.objects("condensed")) == 1, "its lease still runs"
    past = update(Job).where(Job.id == job_id).values(lease_expires_at=datetime.now(UTC))
    desk.change(lambda session: session.execute(past))
    keeper.upkeep.reap()
    keeper.erase()
    assert desk.objects("condensed") == []
    desk.run("finish", job_id)
    keeper.erase()
    assert len(desk.objects("condensed")) == 4


def test_a_worker_that_ends_hands_its_job_over(desk):
    desk.write_bundle()
    job_id = desk.submit()
    thread = desk.run_aside("wait", job_id)
    until(lambda: desk.events(job_id, "progress"))
    desk.stop.set()
    thread.join(timeout=5)
    job = desk.job(job_id)
    assert (job.status, job.attempt, desk.rung()) == ("queued", 0, [job_id])
    desk.stop.clear()
    desk.run("resume", job_id)
    assert desk.logged(job_id) == ["stopped at step 1"]
    assert (desk.job(job_id).status, desk.job(job_id).attempt) == ("succeeded", 1)


def test_a_deaf_child_is_killed_when_the_worker_ends(desk):
    job_id = desk.submit()
    thread = desk.run_aside("deaf", job_id, preempted=0.3)
    until(lambda: desk.events(job_id, "progress"))
    desk.stop.set()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert desk.job(job_id).status == "queued"


def test_a_child_that_hears_of_the_shutdown_first_is_handed_over_too(desk):
    job_id = desk.submit()
    thread = desk.run_aside("stopped", job_id)
    until(lambda: desk.starts() == 1)
    time.sleep(0.3)
    desk.stop.set()
    thread.join()
    assert (desk.job(job_id).status, desk.job(job_id).attempt) == ("queued", 0)


def test_a_child_that_others_stop_has_used_an_attempt(desk):
    job_id = desk.run("stopped")
    assert (desk.job(job_id).status, desk.job(job_id).attempt) == ("queued", 1)


def test_a_message_that_comes_too_late_is_passed_on(desk):
    job_id = desk.submit()
    desk.stop.set()
    desk.run("finish", job_id)
    assert (desk.starts(), desk.rung()) == (0, [job_id])


def test_it_is_passed_on_to_the_queue_of_the_job(desk):
    desk.tools = replace(desk.tools, settings=desk.tools.settings.model_copy(update=CPU))
    job_id = desk.submit()
    desk.tools = replace(desk.tools, settings=desk.tools.settings.model_copy(update=GPU))
    desk.stop.set()
    desk.run("finish", job_id)
    with unit_of_work(desk.tools.sessions) as session:
        assert session.scalars(select(OutboxMessage.queue)).all() == ["cpu"]


def test_silence_is_taken_for_a_stall(desk):
    job_id = desk.run("hang", silent=1.0, stalled=1.0)
    job = desk.job(job_id)
    assert job.status == "queued"
    assert "no sign of work" in desk.events(job_id)[-1].data["reason"]


def test_other_words_on_the_pipe_do_no_harm(desk):
    desk.write_bundle()
    assert desk.job(desk.run("chatter")).status == "succeeded"


def test_nothing_that_a_child_started_stays(desk):
    job_id = desk.run("family")
    (words,) = desk.logged(job_id)
    until(lambda: not _alive(int(words.split()[1])))


def test_a_pipe_that_somebody_holds_open_does_not_detain_us(desk):
    threads = set(threading.enumerate())
    began = time.monotonic()
    job_id = desk.run("deserter")
    assert time.monotonic() - began < 20.0
    assert desk.job(job_id).status == "queued"
    (words,) = desk.logged(job_id)
    os.kill(int(words.split()[1]), signal.SIGKILL)
    # Its end closes the pipes: nothing is left for the garbage collector to warn about later.
    until(lambda: set(threading.enumerate()) <= threads)
    gc.collect()


def test_a_storage_that_fails_for_a_moment_costs_nothing(desk, monkeypatch):
    desk.write_bundle()
    put, failures = Storage.put_file, [OSError("away"), OSError("still away")]

    def sometimes(storage, key, path):
        if failures:
            raise failures.pop()
        put(storage, key, path)

    monkeypatch.setattr(Storage, "put_file", sometimes)
    monkeypatch.setattr(settlement, "STORE_PAUSES", (0.0, 0.0, 0.0))
    assert desk.job(desk.run("finish")).status == "succeeded"


def test_a_storage_that_stays_away_costs_an_attempt(desk, monkeypatch):
    def never(*_):
        raise OSError("away")

    desk.write_bundle()
    monkeypatch.setattr(Storage, "put_file", never)
    monkeypatch.setattr(settlement, "STORE_PAUSES", (0.0, 0.0, 0.0))
    job_id = desk.run("finish")
    assert desk.job(job_id).status == "queued"
    assert "could not be stored" in desk.events(job_id)[-1].data["reason"]


def test_a_database_that_is_away_at_the_end_costs_nothing(desk, monkeypatch):
    desk.write_bundle()
    finish, failures = leases.finish, [1, 2]

    def sometimes(session, lease, row):
        if failures:
            failures.pop()
            session.execute(text("SELECT 1 FROM no_such_table"))
        return finish(session, lease, row)

    monkeypatch.setattr(leases, "finish", sometimes)
    monkeypatch.setattr(settlement, "SQL_PAUSE", 0.0)
    job_id = desk.run("finish")
    assert desk.job(job_id).status == "succeeded"
    assert len(desk.condensed()) == 1


def test_a_database_that_stays_away_leaves_the_job_to_the_reaper(desk, monkeypatch):
    def never(session, lease, row):
        session.execute(text("SELECT 1 FROM no_such_table"))

    desk.write_bundle()
    job_id = desk.submit()
    monkeypatch.setattr(leases, "finish", never)
    monkeypatch.setattr(settlement, "SQL_PAUSE", 0.0)
    desk.tools.settings.__dict__["lease_seconds"] = 2.0
    with pytest.raises(OperationalError):
        desk.run("finish", job_id)
    assert desk.job(job_id).status == "running"
    assert desk.workspaces() == []


def test_a_supervisor_that_fails_gives_the_job_back(desk):
    job_id = desk.submit()
    Supervisor(desk.tools, ["/no/such/program"], desk.stop).run(job_id)
    assert desk.job(job_id).status == "queued"
    assert "FileNotFoundError" in desk.events(job_id)[-1].data["reason"]


def test_an_upload_is_fetched_once_and_linked(desk):
    desk.write_bundle()
    add_upload(desk, b"images")
    first = desk.run("dataset", desk.submit(dataset="pets"))
    desk.tools.storage.delete("datasets/ds_1.safetensors")
    second = desk.run("dataset", desk.submit(dataset="pets", seed=1))
    assert desk.logged(first) == desk.logged(second) == ["images"]
    assert desk.job(second).status == "succeeded"


def test_an_upload_that_is_gone_fails_the_job_with_advice(desk):
    add_upload(desk, None)
    job = desk.job(desk.run("dataset", desk.submit(dataset="pets")))
    assert (job.status, job.error_code) == ("failed", "dataset_unavailable")
    assert "upload the archive again" in job.error_detail
    assert desk.starts() == 0


def test_the_child_gets_none_of_our_secrets(settings, monkeypatch):
    import subprocess

    monkeypatch.setenv("DCPI_DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("DCPI_S3_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("PGPASSWORD", "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    *start, _, _ = runner_command(settings)
    probe = [*start, "-c", "import os; print(sorted(os.environ))"]
    names = subprocess.run(probe, capture_output=True, text=True, check=True).stdout
    for prefix in ("DCPI_", "AWS_", "PGPASS"):
        assert prefix not in names
    assert "OMP_NUM_THREADS" in names


def add_upload(desk, content: bytes | None) -> None:
    facts = load_catalog().datasets["digits"].model_dump(mode="json") | {"name": "pets"}
    row = Dataset(
        id="ds_1",
        tenant_id=DEFAULT_TENANT,
        name="pets",
        facts=facts,
        archive_sha256="0" * 64,
        size_bytes=1,
        stored_bytes=1,
        storage_key="datasets/ds_1.safetensors",
        created_at=datetime.now(UTC),
    )
    desk.change(lambda session: session.add(row))
    if content is not None:
        file = desk.folder / "upload"
        file.write_bytes(content)
        desk.tools.storage.put_file(row.storage_key, file)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan may wait for init to collect it.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
