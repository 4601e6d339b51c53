"""Pulse and journal: what is written while a job runs, and what is heard."""

import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text, update

from app.jobs import leases
from app.jobs.leases import Wanted
from app.kit.clock import now
from app.kit.db import unit_of_work
from app.models import Job
from tests.worker.waiting import until
from worker import journal
from worker import pulse as pulse_module
from worker.housekeeping import Housekeeper
from worker.journal import Journal
from worker.orders import Orders
from worker.pace import Pace
from worker.places import Places
from worker.protocol import LogLine, ProgressLine
from worker.pulse import Pulse
from worker.settlement import Settlement


@pytest.fixture
def lease(desk):
    job_id = desk.submit()
    with unit_of_work(desk.tools.sessions) as session:
        return leases.claim(session, job_id, "host", 3.0)


def step(number: int, phase: str = "base", total: int = 100) -> ProgressLine:
    return ProgressLine(phase=phase, step=number, total_steps=total)


class Clock:
    """Stands in for the time module."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


def steal(desk, lease) -> None:
    theirs = update(Job).where(Job.id == lease.job_id).values(lease_token="theirs")
    desk.change(lambda session: session.execute(theirs))


def test_a_pulse_keeps_the_lease(desk, lease):
    with Pulse(desk.tools.sessions, lease, 0.1) as pulse:
        until(lambda: desk.job(lease.job_id).lease_expires_at > now() + timedelta(seconds=2.9))
        time.sleep(0.3)
        first = desk.job(lease.job_id).lease_expires_at
        until(lambda: desk.job(lease.job_id).lease_expires_at > first)
        assert pulse.wanted is Wanted.CONTINUE


def test_a_pulse_hears_of_a_cancellation_between_heartbeats(desk, lease):
    with Pulse(desk.tools.sessions, lease, 60.0) as pulse:
        desk.cancel(lease.job_id)
        until(lambda: pulse.wanted is Wanted.CANCEL, seconds=3)


@pytest.mark.parametrize("every", [0.1, 60.0])
def test_a_pulse_hears_that_the_lease_is_lost(desk, lease, every):
    with Pulse(desk.tools.sessions, lease, every) as pulse:
        steal(desk, lease)
        until(lambda: pulse.wanted is Wanted.FENCED, seconds=3)


def test_a_database_that_stays_away_counts_as_a_lost_lease(desk, lease):
    with Pulse(desk.tools.sessions, lease, 0.1) as pulse:
        began = time.monotonic()
        desk.change(lambda session: session.execute(text("ALTER TABLE jobs RENAME TO away")))
        time.sleep(1.0)
        assert pulse.wanted is Wanted.CONTINUE
        until(lambda: pulse.wanted is Wanted.FENCED)
        assert time.monotonic() - began == pytest.approx(3.0, abs=1.0)


def test_a_database_that_hangs_counts_as_a_lost_lease(desk, lease, monkeypatch):
    """The pulse itself cannot say so, since it waits for an answer."""
    answered = threading.Event()

    def hang(session, lease):
        answered.wait(60)
        return Wanted.CONTINUE

    monkeypatch.setattr(leases, "heartbeat", hang)
    with Pulse(desk.tools.sessions, replace(lease, seconds=0.5), 0.1) as pulse:
        until(lambda: pulse.wanted is Wanted.FENCED)
        answered.set()
        time.sleep(0.2)
        assert pulse.wanted is Wanted.FENCED, "somebody else may have the job by now"


def test_a_pulse_that_hangs_does_not_detain_the_worker(desk, lease, monkeypatch):
    answered = threading.Event()
    monkeypatch.setattr(leases, "heartbeat", lambda *_: answered.wait(60))
    monkeypatch.setattr(pulse_module, "JOIN_SECONDS", 0.1)
    with Pulse(desk.tools.sessions, lease, 0.1) as pulse:
        time.sleep(0.3)
    assert not answered.is_set()
    answered.set()
    until(lambda: not pulse._thread.is_alive())


@pytest.mark.parametrize("look", ["listen", "order", "bundle", "sweep"])
def test_who_only_looks_does_not_wait_for_a_writer(desk, lease, look):
    orders = Orders(desk.tools, Places(desk.tools.settings.home))
    looks = {
        "listen": Pulse(desk.tools.sessions, lease, 60.0)._look,
        "order": lambda: orders.make(lease.job_id, desk.folder),
        "bundle": Settlement(desk.tools, lease, desk.stop)._job,
        "sweep": Housekeeper(desk.tools).sweep_checkpoints,
    }
    with unit_of_work(desk.tools.sessions) as session:
        session.execute(text("SELECT 1"))  # now it holds SQLite's only lock for writing
        looks[look]()


def test_a_database_that_comes_back_is_forgiven(desk, lease):
    with Pulse(desk.tools.sessions, lease, 0.1) as pulse:
        desk.change(lambda session: session.execute(text("ALTER TABLE jobs RENAME TO away")))
        time.sleep(1.0)
        desk.change(lambda session: session.execute(text("ALTER TABLE away RENAME TO jobs")))
        time.sleep(3.0)
        assert pulse.wanted is Wanted.CONTINUE


def test_of_many_steps_the_last_is_kept(desk, lease):
    book = Journal(desk.tools.sessions, lease)
    for number in range(50):
        book.progress(step(number))
    book.flush()
    assert [event.data["step"] for event in desk.events(lease.job_id, "progress")] == [0, 49]


def test_events_become_rare_while_the_row_stays_fresh(desk, lease, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(journal, "time", clock)
    book = Journal(desk.tools.sessions, lease)
    for number in range(60):
        clock.now = 7200.0 + number
        book.progress(step(number))
    assert desk.job(lease.job_id).progress["step"] == 59
    seen = [event.data["step"] for event in desk.events(lease.job_id, "progress")]
    assert seen == [0, 36]
    book.flush()
    assert desk.events(lease.job_id, "progress")[-1].data["step"] == 59


def test_events_of_progress_come_to_an_end(desk, lease, monkeypatch):
    monkeypatch.setattr(journal, "MAX_PROGRESS_EVENTS", 3)
    book = Journal(desk.tools.sessions, lease)
    for number in range(10):
        book.progress(step(number, total=number))
    assert len(desk.events(lease.job_id, "progress")) == 3
    assert desk.job(lease.job_id).progress["step"] == 9


def test_a_long_job_speaks_ever_more_rarely():
    pace, count = Pace(0.0, 0.5), 0
    for half_second in range(2 * 86400):
        if pace.due(half_second / 2):
            pace.spoke(half_second / 2)
            count += 1
    assert 1000 < count < 2000


def test_a_new_phase_does_not_swallow_the_old_one(desk, lease):
    book = Journal(desk.tools.sessions, lease)
    book.progress(step(1))
    book.progress(step(2))
    book.progress(step(1, phase="evaluate"))
    found = [(e.data["phase"], e.data["step"]) for e in desk.events(lease.job_id, "progress")]
    assert found == [("base", 1), ("base", 2)]


def test_a_lost_lease_silences_the_journal(desk, lease):
    steal(desk, lease)
    before = len(desk.events(lease.job_id))
    book = Journal(desk.tools.sessions, lease)
    book.progress(step(100))
    book.log(LogLine(message="hello"))
    assert len(desk.events(lease.job_id)) == before


def test_a_talkative_job_is_cut_short(desk, lease, monkeypatch):
    monkeypatch.setattr(journal, "MAX_LOG_EVENTS", 3)
    book = Journal(desk.tools.sessions, lease)
    for number in range(10):
        book.log(LogLine(level="warning", message=str(number)))
    logged = [event.data for event in desk.events(lease.job_id, "log")]
    assert logged == [{"level": "warning", "message": str(n)} for n in range(3)]


def test_a_database_that_is_away_costs_lines_only(desk, lease):
    desk.change(lambda session: session.execute(text("ALTER TABLE jobs RENAME TO away")))
    Journal(desk.tools.sessions, lease).progress(step(100))
