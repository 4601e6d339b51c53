"""One campaign: jobs come in, faults happen, and in the end everything is looked at."""

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.jobs.states import TERMINAL
from app.models import Attempt, Condensed, Job, JobEvent
from benchmarks.faults import work
from benchmarks.faults.calm import CalmRun, digest
from benchmarks.faults.invariants import Bundle, Evidence, JobRecord, no_orphans
from benchmarks.faults.kinds import KINDS, NoTarget
from benchmarks.faults.schedule import Fault, lanes
from benchmarks.faults.stack import Stack
from dcpi_core import bundle
from tests.servers import wait_until

AHEAD = 4
"""Jobs that wait or run at a time."""
IN_STEP = 12
"""Faults of the schedule before the first job has ended. From then on each job that ends lets its
share of the faults happen, so that a slow machine has slower faults, and none runs out of them."""
TURN_POLL_SECONDS = 0.5
RECOVERY_SECONDS = 120.0
POLL_SECONDS = 0.05
DRAIN_SECONDS = 1800.0
TIDY_SECONDS = 60.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Happened:
    """What became of a fault.

    Attributes:
        at: seconds since the campaign began.
        lasted: seconds from the first blow to its end.
        recovery: what was waited for.
        after: seconds from the fault's end until then; None: not within ``RECOVERY_SECONDS``, or
            there was nothing to strike.
        struck: whether it took place.
    """

    number: int
    kind: str
    lane: str
    at: float
    target: str
    lasted: float
    recovery: str
    after: float | None
    struck: bool = True

    def __str__(self) -> str:
        what = f"{self.at:7.1f} s  #{self.number:<4}{self.kind:22}{self.target}"
        if not self.struck:
            return f"{what}  NOT STRUCK"
        after = "NOT" if self.after is None else f"after {self.after:.1f} s"
        return f"{what}  for {self.lasted:.1f} s; {self.recovery}: {after}"


class Campaign:
    """Submits, strikes, waits and collects.

    Args:
        calm: computes the same jobs without faults.
        jobs: how many to submit at least; more, so that no fault strikes an idle service.
        tell: receives a line for whoever watches.
    """

    def __init__(self, stack: Stack, calm: CalmRun, seed: int, jobs: int, tell: Tell) -> None:
        self.stack, self.calm, self.seed, self.jobs, self.tell = stack, calm, seed, jobs, tell
        self.accepted: dict[int, str] = {}
        self.happened: list[Happened] = []
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._faults = 0

    def run(self, faults: list[Fault]) -> None:
        """From the first submission to the end of the last job."""
        by_lane = lanes(faults, {name: kind.lane for name, kind in KINDS.items()})
        self._faults = len(faults)
        with ThreadPoolExecutor(len(by_lane) + 1) as pool:
            going = [pool.submit(self._lane, name, lane) for name, lane in by_lane.items()]
            going.append(pool.submit(self._submit_all))
            try:
                for lane in as_completed(going):
                    lane.result()
            finally:
                self._over.set()  # if one has failed, or we are to end, the others end too
        self.tell(f"{self._now():7.1f} s  faults are over; waiting for the last jobs")
        wait_until(self._all_ended, "the end of all jobs", DRAIN_SECONDS)
        self.tell(f"{self._now():7.1f} s  every job has ended; workers start anew and tidy up")
        for worker in self.stack.workers:
            self.stack.members.restart(worker)

    def evidence(self, folder: Path, expected: dict[int, str]) -> Evidence:
        """Download every result, and read all that the invariants ask for."""
        deadline = time.monotonic() + TIDY_SECONDS
        while True:
            found = self._collect(expected)
            if not no_orphans(found) or time.monotonic() > deadline:
                break
            time.sleep(1.0)
        bundles = tuple(self._download(job, folder) for job in found.jobs if job.results)
        return Evidence(**{**vars(found), "bundles": bundles})

    def _lane(self, name: str, faults: list[Fault]) -> None:
        for fault in faults:
            self._wait_for_turn(fault)
            if self._over.wait(fault.pause):
                return
            self._note(self._strike(name, fault))

    def _wait_for_turn(self, fault: Fault) -> None:
        while not self._over.is_set():
            share = self._count(Job.status.in_(TERMINAL)) / self.jobs
            if fault.number <= IN_STEP + share * self._faults:
                return
            time.sleep(TURN_POLL_SECONDS)

    def _strike(self, lane: str, fault: Fault) -> Happened:
        began = self._now()
        try:
            hit = KINDS[fault.kind].strike(self.stack, fault)
        except NoTarget as error:
            return Happened(
                fault.number, fault.kind, lane, began, str(error), 0.0, "", None, struck=False
            )
        over = self._now()
        while not (recovered := hit.recovered()) and self._now() - over < RECOVERY_SECONDS:
            if self._over.wait(POLL_SECONDS):
                break
        return Happened(
            number=fault.number,
            kind=fault.kind,
            lane=lane,
            at=round(began, 2),
            target=hit.target,
            lasted=round(over - began, 2),
            recovery=hit.hope,
            after=round(self._now() - over, 2) if recovered else None,
        )

    def _note(self, happened: Happened) -> None:
        with self._lock:
            self.happened.append(happened)
        self.tell(str(happened))

    def _submit_all(self) -> None:
        with self.stack.client() as client:
            for number in itertools.count():
                while number >= AHEAD + self._count(Job.status.in_(TERMINAL)):
                    if self._over.wait(TURN_POLL_SECONDS):
                        return
                if number >= self.jobs and len(self.happened) == self._faults:
                    return
                # The key is what makes it safe to ask again an API that died before it answered.
                key = f"faults-{self.seed}-{number}"
                job = client.jobs.create(work.request(self.seed, number), idempotency_key=key)
                self.accepted[number] = job.id
                self.calm.ask(number)
                self.tell(f"{self._now():7.1f} s  job {number} is {job.id}")

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _all_ended(self) -> bool:
        return self._count(Job.status.in_(TERMINAL)) == len(self.accepted)

    def _count(self, which: ColumnElement[bool]) -> int:
        """Jobs; 0 while the database is away."""
        statement = select(func.count()).select_from(Job).where(which)
        try:
            return self.stack.look(lambda session: session.scalar(statement)) or 0
        except DBAPIError:
            return 0

    def _collect(self, expected: dict[int, str]) -> Evidence:
        numbers = {job_id: number for number, job_id in self.accepted.items()}

        def read(session: Session) -> tuple[tuple[JobRecord, ...], dict[str, tuple[str, ...]]]:
            jobs = session.scalars(select(Job).order_by(Job.id)).all()
            records = tuple(_record(session, job, numbers.get(job.id, -1)) for job in jobs)
            files = {
                row.id: tuple(file["path"] for file in row.files)
                for row in session.scalars(select(Condensed))
            }
            return records, files

        jobs, files = self.stack.look(read)
        objects = tuple(key for top in ("condensed", "checkpoints") for key in self._keys(top))
        return Evidence(self.accepted, jobs, (), files, objects, expected)

    def _keys(self, top: str) -> list[str]:
        return self.stack.objects.keys(top)

    def _download(self, job: JobRecord, folder: Path) -> Bundle:
        with self.stack.client() as client:
            path = client.condensed.download(job.results[0], folder / job.id)
        failed = [str(check) for check in bundle.verify(path) if not check.passed]
        return Bundle(job.number, tuple(failed), digest(path))


def _record(session: Session, job: Job, number: int) -> JobRecord:
    told = select(JobEvent).where(JobEvent.job_id == job.id, JobEvent.type == "status")
    ended_well = select(func.count()).select_from(Attempt)
    ended_well = ended_well.where(Attempt.job_id == job.id, Attempt.outcome == "succeeded")
    results = select(Condensed.id).where(Condensed.job_id == job.id)
    return JobRecord(
        id=job.id,
        number=number,
        status=job.status,
        told=tuple(event.data["status"] for event in session.scalars(told.order_by(JobEvent.seq))),
        results=tuple(session.scalars(results)),
        successes=session.scalar(ended_well) or 0,
    )


def as_json(happened: list[Happened]) -> list[dict[str, object]]:
    """The log of a campaign, in the order of time."""
    return [asdict(one) for one in sorted(happened, key=lambda one: one.at)]
