"""After an attempt: the job's row, its bundle in storage, and the next worker's call.

Every write names the lease, so a worker that lost its job changes nothing.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.condensed.registration import describe_bundle, object_key, prefix_of
from app.jobs import attempts, leases, leftovers, repository
from app.jobs.kinds import Kind
from app.jobs.leases import Lease
from app.jobs.states import Status
from app.kit import erasure, outbox
from app.kit.db import SessionFactory, reading, unit_of_work
from app.models import Condensed, Job
from app.verifications import recording
from dcpi_core.spec.errors import OUT_OF_MEMORY, NotFound
from dcpi_core.spec.verification import Verification
from worker.attempt import Ending, Verdict
from worker.tools import Tools

logger = logging.getLogger(__name__)

Found = TypeVar("Found")
Begin = Callable[[SessionFactory], AbstractContextManager[Session]]

STORE_PAUSES = (1.0, 5.0, 20.0)
"""Between tries to store a bundle: a storage may be away for a moment."""
SQL_PAUSE = 1.0
STOPPED = {Verdict.PAUSED: Status.PAUSED, Verdict.EXPIRED: Status.EXPIRED}
LONGEST_RECOVERY = 16
"""Times the first pause between attempts: with many allowed, it would grow beyond all time."""


class Settlement:
    """Puts an ending on record."""

    def __init__(self, tools: Tools, lease: Lease, stop: threading.Event) -> None:
        self._tools = tools
        self._lease = lease
        self._stop = stop

    def settle(self, ending: Ending) -> Status | None:
        """Do what follows from the ending; returns the job's new status, None if it was lost.

        Whoever is called by that, for this job or for one that gets its place, is called at once.
        """
        status = self._follow(ending)
        if status is not None:
            self._send_calls()
        return status

    def _follow(self, ending: Ending) -> Status | None:
        if ending.verdict is Verdict.SUCCEEDED:
            assert ending.made is not None
            return self._succeed(ending.made)
        if ending.verdict is Verdict.FAILED:
            return self._fail(ending)
        if ending.verdict is Verdict.CANCELLED:
            return self._record(leases.cancelled, Status.CANCELLED)
        if ending.verdict in STOPPED:
            status = STOPPED[ending.verdict]
            return self._persist(lambda session: leases.stop(session, self._lease, status))
        if ending.verdict is Verdict.PREEMPTED:
            return self._hand_over()
        if ending.verdict is Verdict.POSTPONED:
            return self._postpone(ending)
        if ending.verdict is Verdict.BROKEN:
            return self._retry(ending)
        return None

    def _succeed(self, made: Path) -> Status | None:
        job = self._job()
        return self._conclude(made) if job.kind == Kind.VERIFY else self._publish(job, made)

    def _conclude(self, record: Path) -> Status | None:
        """Put on record what a verification found."""
        found = Verification.model_validate_json(record.read_bytes())
        try:
            held = self._persist(lambda session: recording.conclude(session, self._lease, found))
        except NotFound as error:
            return self._fail(Ending(Verdict.FAILED, code=error.code, detail=error.detail))
        return Status.SUCCEEDED if held else None

    def _publish(self, job: Job, bundle: Path) -> Status | None:
        """Store a finished bundle and put it on record."""
        lease = self._lease
        row = describe_bundle(job, bundle)
        folder = f"{prefix_of(row.id)}/"
        # Noted before the first byte is stored: whatever ends us, nothing is left without an owner.
        self._persist(lambda session: leftovers.erase_unless_kept(session, folder, lease.token))
        try:
            self._store(row, bundle)
        except Exception as error:
            logger.exception("job %s: its bundle cannot be stored", lease.job_id)
            if self._stop.is_set():
                return self._hand_over()
            detail = f"the bundle could not be stored ({type(error).__name__})"
            return self._retry(Ending(Verdict.BROKEN, code="storage_error", detail=detail))
        condensed_id = row.id

        def finish(session: Session) -> bool:
            # Also if an earlier try was committed and only its answer was lost on the way.
            if not leases.finish(session, lease, row):
                return session.get(Condensed, condensed_id) is not None
            leftovers.keep(session, folder, lease.token)
            return True

        if self._persist(finish):
            return Status.SUCCEEDED
        # The job was lost meanwhile, and the note perhaps carried out before all had arrived.
        self._persist(lambda session: erasure.erase(session, folder))
        return None

    def _store(self, row: Condensed, bundle: Path) -> None:
        for pause in STORE_PAUSES:
            try:
                return self._put(row, bundle)
            except Exception as error:  # noqa: BLE001 - drivers raise what they like
                logger.warning("%s: storing failed, next try in %g s: %s", row.id, pause, error)
            self._stop.wait(pause)
        return self._put(row, bundle)

    def _put(self, row: Condensed, bundle: Path) -> None:
        for file in row.files:
            self._tools.storage.put_file(object_key(row.id, file["path"]), bundle / file["path"])

    def _fail(self, ending: Ending) -> Status | None:
        return self._record(
            lambda session, lease: leases.fail(session, lease, ending.code, ending.detail),
            Status.FAILED,
        )

    def _retry(self, ending: Ending) -> Status | None:
        settings, lease = self._tools.settings, self._lease
        if ending.code == OUT_OF_MEMORY and lease.attempt >= settings.max_attempts:
            # Not the machines' bad luck any more: say what the job could do about it.
            detail = f"{ending.detail}, in {lease.attempt} attempts, each with smaller pieces"
            return self._fail(Ending(Verdict.FAILED, code=ending.code, detail=detail))
        # More time would not help where memory was wanting: the next attempt is a smaller one.
        pause = 0.0 if ending.code == OUT_OF_MEMORY else self._pause(lease.attempt - 1)
        return self._persist(
            lambda session: leases.release(
                session,
                lease,
                max_attempts=settings.max_attempts,
                reason=ending.detail,
                code=ending.code,
                pause_seconds=pause,
            )
        )

    def _postpone(self, ending: Ending) -> Status | None:
        lease, why = self._lease, leases.Why(ending.code, ending.detail)
        earlier = self._persist(
            lambda session: attempts.in_a_row(session, lease.job_id, ending.code), begin=reading
        )
        return self._hand_over(why, self._pause(earlier))

    def _pause(self, earlier: int) -> float:
        """Seconds before the next attempt, after so many that were no better."""
        growth: int = min(4**earlier, LONGEST_RECOVERY)
        return self._tools.settings.retry_seconds * growth

    def _hand_over(
        self, why: leases.Why = leases.SHUTDOWN, pause_seconds: float = 0.0
    ) -> Status | None:
        return self._persist(
            lambda session: leases.hand_over(session, self._lease, why, pause_seconds)
        )

    def _record(self, write: Callable[[Session, Lease], bool], status: Status) -> Status | None:
        held = self._persist(lambda session: write(session, self._lease))
        return status if held else None

    def _job(self) -> Job:
        return self._persist(
            lambda session: repository.get(session, self._lease.job_id), begin=reading
        )

    def _persist(self, act: Callable[[Session], Found], begin: Begin = unit_of_work) -> Found:
        """Act in a transaction; a database that is away is asked again while the lease lasts."""
        deadline = time.monotonic() + self._lease.seconds
        while True:
            try:
                with begin(self._tools.sessions) as session:
                    return act(session)
            except DBAPIError as error:
                if time.monotonic() > deadline:
                    raise
                logger.warning("job %s: SQL is tried again: %s", self._lease.job_id, error)
            time.sleep(SQL_PAUSE)

    def _send_calls(self) -> None:
        """Empty the outbox; should that fail, some relay does it soon."""
        try:
            outbox.relay(self._tools.sessions, self._tools.bell)
        except Exception as error:  # noqa: BLE001 - drivers raise what they like
            logger.warning("outbox waits: %s", error)
