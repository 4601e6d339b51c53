"""The life of a job: the table of transitions, and every word that moves a job along it."""

import contextlib
import itertools
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import select, update

from app.jobs import checkpoints, control, leases
from app.jobs.states import LEASED, RETRIED, TERMINAL, TRANSITIONS, WAITING, Status
from app.kit.clock import now
from app.kit.db import build_engine, build_sessions, unit_of_work
from app.migrate import upgrade
from app.models import Job, JobEvent
from dcpi_core.spec.errors import Conflict
from tests.app.conftest import FOUR_WORDS, queued

MAX_ATTEMPTS = 2
VERBS = ("cancel", "pause", "resume", "retry")


def test_every_state_leads_to_an_end_and_success_is_final():
    assert {status for status, later in TRANSITIONS.items() if not later} == {Status.SUCCEEDED}
    assert set(Status) == TERMINAL | set(LEASED) | set(WAITING) == set(TRANSITIONS)
    assert all(TRANSITIONS[status] == {Status.QUEUED} for status in RETRIED)
    for start in Status:
        reached, border = {start}, {start}
        while border:
            border = {later for status in border for later in TRANSITIONS[status]} - reached
            reached |= border
        assert reached & TERMINAL


def put(client, job_id, status):
    with unit_of_work(client.app.state.dcpi.sessions) as session:
        session.execute(update(Job).where(Job.id == job_id).values(status=status))


# What each verb makes of a job in each state; None means that it is refused.
OUTCOMES = {
    "cancel": {
        "queued": "cancelled",
        "running": "cancelling",
        "pausing": "cancelling",
        "paused": "cancelled",
        "cancelling": "cancelling",
        **{status: status for status in TERMINAL},
    },
    "pause": {"queued": "paused", "running": "pausing", "pausing": "pausing", "paused": "paused"},
    "resume": {"paused": "queued", "queued": "queued", "running": "running"},
    "retry": {
        **dict.fromkeys(RETRIED, "queued"),
        "queued": "queued",
        "running": "running",
    },
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_in_every_state(client, job_id, verb):
    for status in Status:
        put(client, job_id, status)
        response = client.post(f"/v1/jobs/{job_id}/{verb}")
        expected = OUTCOMES[verb].get(status)
        if expected is None:
            assert (response.status_code, response.json()["code"]) == (409, "conflict"), status
            assert status in response.json()["detail"] or status == "pausing"
            expected = status
        else:
            assert response.status_code == 200, (status, response.json())
        assert client.get(f"/v1/jobs/{job_id}").json()["status"] == expected


def test_a_verb_said_twice_is_told_once(client, job_id):
    for verb in ("pause", "pause", "resume", "resume", "cancel", "cancel", "retry", "retry"):
        assert client.post(f"/v1/jobs/{job_id}/{verb}").status_code == 200
    events = client.get(f"/v1/jobs/{job_id}/events").json()["data"]
    told = [event["data"]["status"] for event in events]
    assert told == ["queued", "paused", "queued", "cancelled", "queued"]


def test_a_retry_says_where_it_starts(client, state, job_id, tmp_path):
    client.post(f"/v1/jobs/{job_id}/cancel")
    assert client.post(f"/v1/jobs/{job_id}/retry").json()["starts_from"] == "beginning"
    client.post(f"/v1/jobs/{job_id}/cancel")
    (tmp_path / "checkpoint").write_bytes(b"tensors")
    state.storage.put_file(checkpoints.key_of(job_id), tmp_path / "checkpoint")
    retried = client.post(f"/v1/jobs/{job_id}/retry").json()
    assert retried["starts_from"] == "checkpoint"
    assert (retried["status"], retried["finished_at"], retried["error"]) == ("queued", None, None)
    events = client.get(f"/v1/jobs/{job_id}/events").json()["data"]
    assert [e["data"].get("starts_from") for e in events if "reason" in e["data"]] == [
        "beginning",
        "checkpoint",
    ]


def test_a_retry_has_its_attempts_and_its_deadline_anew(client, state):
    job_id = client.post("/v1/jobs", json=FOUR_WORDS | {"deadline_seconds": 60}).json()["id"]
    for _ in range(MAX_ATTEMPTS):
        with unit_of_work(state.sessions) as session:
            lease = leases.claim(session, job_id, "worker", 60)
            leases.release(session, lease, max_attempts=MAX_ATTEMPTS, reason="died")
    crashed = client.get(f"/v1/jobs/{job_id}").json()
    assert (crashed["status"], crashed["error"]["code"]) == ("crashed", "attempts_exhausted")
    retried = client.post(f"/v1/jobs/{job_id}/retry").json()
    assert (retried["attempt"], retried["error"]) == (0, None)
    assert retried["deadline_at"] > crashed["deadline_at"]


@pytest.mark.parametrize("seconds", [0, -1, 30 * 24 * 3600 + 1, "soon"])
def test_a_deadline_that_makes_no_sense_is_refused(client, seconds):
    response = client.post("/v1/jobs", json=FOUR_WORDS | {"deadline_seconds": seconds})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/deadline_seconds"


class JobLife(RuleBasedStateMachine):
    """Users and workers act in any order; the row follows the table and nobody gets stuck."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        url = f"sqlite:///{self.folder / 'life.db'}"
        upgrade(url)
        self.engine = build_engine(url)
        self.sessions = build_sessions(self.engine)
        self.lease = None
        self.status = "queued"
        with unit_of_work(self.sessions) as session:
            session.add(queued("job_1"))

    def teardown(self) -> None:
        self.engine.dispose()
        shutil.rmtree(self.folder)

    def act(self, do):
        with unit_of_work(self.sessions) as session:
            return do(session)

    @rule(verb=st.sampled_from((control.cancel, control.pause, control.resume)))
    def ask(self, verb):
        with contextlib.suppress(Conflict):
            self.act(lambda session: verb(session, "job_1"))

    @rule()
    def retry(self):
        try:
            self.act(lambda session: control.retry(session, "job_1", from_checkpoint=False))
        except Conflict:
            assert self.status not in RETRIED

    @rule()
    def claim(self):
        lease = self.act(lambda session: leases.claim(session, "job_1", "worker", 60))
        assert (lease is not None) == (self.status == Status.QUEUED)
        self.lease = lease or self.lease

    @precondition(lambda self: self.lease is not None)
    @rule(status=st.sampled_from((Status.PAUSED, Status.EXPIRED)))
    def worker_stops(self, status):
        if status is Status.EXPIRED or self.status != Status.RUNNING:  # nobody pauses unasked
            self.act(lambda session: leases.stop(session, self.lease, status))

    @precondition(lambda self: self.lease is not None)
    @rule()
    def worker_breaks(self):
        self.act(
            lambda session: leases.release(
                session, self.lease, max_attempts=MAX_ATTEMPTS, reason="died"
            )
        )

    @precondition(lambda self: self.lease is not None)
    @rule()
    def worker_fails(self):
        self.act(lambda session: leases.fail(session, self.lease, "code", "detail"))

    @rule()
    def worker_is_lost(self):
        past = now() - timedelta(seconds=1)
        held = update(Job).where(Job.lease_token.is_not(None))
        self.act(lambda session: session.execute(held.values(lease_expires_at=past)))
        self.act(lambda session: leases.reap(session, MAX_ATTEMPTS))
        self.lease = None

    @invariant()
    def the_table_was_followed(self):
        with self.sessions() as session:
            job = session.get(Job, "job_1")
            told = select(JobEvent.data).order_by(JobEvent.seq)
            steps = ["queued", *(data["status"] for data in session.scalars(told))]
        for before, after in itertools.pairwise(steps):
            assert Status(after) in TRANSITIONS[Status(before)], steps
        assert steps[-1] == job.status, "every change was told"
        assert (job.lease_token is not None) == (job.status in LEASED)
        assert (job.finished_at is not None) == (job.status in TERMINAL)
        self.status = job.status


JobLife.TestCase.settings = hypothesis_settings(
    max_examples=15, stateful_step_count=20, deadline=None
)
TestJobLife = JobLife.TestCase
