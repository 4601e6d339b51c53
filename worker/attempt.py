"""One attempt at a job: follow the child until it ends or has to be ended, and say how it went."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from app.jobs.leases import Wanted
from dcpi_core.spec.errors import OUT_OF_MEMORY, CheckpointError, OutdatedCheckpoint
from worker import kernel
from worker.child import Child
from worker.journal import Journal
from worker.protocol import (
    DoneLine,
    ErrorLine,
    Exit,
    Line,
    LogLine,
    ProgressLine,
)
from worker.shutdown import PATIENCE_SECONDS
from worker.words import public

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.25
SHUTDOWN_LAG_SECONDS = 1.0
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


class Verdict(StrEnum):
    """What becomes of the job."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the job's own fault
    CANCELLED = "cancelled"
    PAUSED = "paused"
    EXPIRED = "expired"
    PREEMPTED = "preempted"  # stopped in good order, to be continued elsewhere
    POSTPONED = "postponed"  # nothing could be begun: what the work needs is away for now
    BROKEN = "broken"  # the machine's fault, or a bug: worth another attempt
    LOST = "lost"  # the lease is somebody else's; nothing may be written


@dataclass(frozen=True)
class Ending:
    """How an attempt ended: a verdict, with what was made or the reason."""

    verdict: Verdict
    made: Path | None = None
    code: str = ""
    detail: str = ""


STOPPED_BEFORE_THE_END = (Verdict.PAUSED, Verdict.EXPIRED, Verdict.PREEMPTED, Verdict.BROKEN)
"""Somebody may go on from the checkpoint."""


class Reason(StrEnum):
    """Why a child that still runs is ended."""

    LOST = "lost"
    CANCEL = "cancel"
    PAUSE = "pause"
    EXPIRE = "expire"
    SHUTDOWN = "shutdown"
    STALLED = "stalled"


ASKED = {
    Wanted.FENCED: Reason.LOST,
    Wanted.CANCEL: Reason.CANCEL,
    Wanted.PAUSE: Reason.PAUSE,
    Wanted.EXPIRE: Reason.EXPIRE,
}
IN_GOOD_ORDER = (Reason.PAUSE, Reason.EXPIRE, Reason.SHUTDOWN)
"""With time to write a checkpoint."""


WISHES = {Reason.PAUSE: Verdict.PAUSED, Reason.EXPIRE: Verdict.EXPIRED}


@dataclass(frozen=True)
class Patience:
    """Seconds that a child may be silent, or may take to end once it was asked to."""

    silent: float
    cancelled: float = 2.5
    preempted: float = PATIENCE_SECONDS - 15.0  # the rest is for the last upload
    stalled: float = 2.0


class Attempt:
    """A running child, what it reports, and what is wanted of it."""

    def __init__(
        self,
        child: Child,
        journal: Journal,
        wanted: Callable[[], Wanted],
        shutdown: threading.Event,
        patience: Patience,
    ) -> None:
        self._child = child
        self._journal = journal
        self._wanted = wanted
        self._shutdown = shutdown
        self._patience = patience
        self._heard_at = time.monotonic()
        self._kills_before = kernel.out_of_memory_kills()
        self._last: DoneLine | ErrorLine | None = None

    def follow(self) -> Ending:
        """Return how the child ended; nothing of it runs any more."""
        reason: Reason | None = None
        try:
            while reason is None and not self._child.ended():
                self._take(self._child.next_line(TICK_SECONDS))
                reason = self._reason_to_end()
            if reason is not None:
                self._end(reason)
        finally:
            code = self._child.collect()
        if reason is Reason.LOST:
            return Ending(Verdict.LOST)
        for line in self._child.rest():
            self._take(line)
        self._journal.flush()
        logger.info("child ended with code %d, asked to by %s", code, reason)
        return self._judge(reason, code)

    def _take(self, line: Line | None) -> None:
        if line is None:
            return
        self._heard_at = time.monotonic()
        if isinstance(line, ProgressLine):
            self._journal.progress(line)
        elif isinstance(line, LogLine):
            self._journal.log(line)
        elif isinstance(line, DoneLine | ErrorLine):
            self._last = line

    def _reason_to_end(self) -> Reason | None:
        asked = ASKED.get(self._wanted())
        if asked is not None:
            return asked
        if self._shutdown.is_set():
            return Reason.SHUTDOWN
        silent = time.monotonic() - self._heard_at
        return Reason.STALLED if silent > self._patience.silent else None

    def _end(self, reason: Reason) -> None:
        """Ask in the way that fits; ``collect`` kills what does not listen."""
        if reason is Reason.CANCEL:
            self._child.send(signal.SIGTERM)
            self._child.wait(self._patience.cancelled)
        elif reason in IN_GOOD_ORDER:
            self._child.send(signal.SIGTERM)
            self._child.wait(self._patience.preempted)
        elif reason is Reason.STALLED:
            self._child.send(signal.SIGABRT)  # its traceback shows where it hangs
            self._child.wait(self._patience.stalled)

    def _judge(self, reason: Reason | None, code: int) -> Ending:
        if reason is Reason.CANCEL:
            return Ending(Verdict.CANCELLED)
        if code == Exit.DONE and isinstance(self._last, DoneLine):
            return Ending(Verdict.SUCCEEDED, made=self._last.made)
        if code == Exit.JOB_AT_FAULT and isinstance(self._last, ErrorLine):
            return self._fault(self._last)
        if reason in WISHES:
            return Ending(WISHES[reason])
        if reason is Reason.SHUTDOWN or self._stopped_with_us(code):
            return Ending(Verdict.PREEMPTED)
        if reason is Reason.STALLED:
            silent = f"no sign of work for {self._patience.silent:g} s"
            return Ending(Verdict.BROKEN, code="stalled", detail=silent)
        if code in KILLED and not self._spared_by_the_kernel():
            detail = "the process was killed, most likely for want of memory"
            return Ending(Verdict.BROKEN, code=OUT_OF_MEMORY, detail=detail)
        said = [words for words in self._child.last_words if words.strip()]
        detail = f"the process ended with code {code}: {public(said[-1]) if said else 'no word'}"
        return Ending(Verdict.BROKEN, code="worker_error", detail=detail)

    def _stopped_with_us(self, code: int) -> bool:
        # A machine that goes down signals all at once, and the child may be the first to listen.
        # Only then is it no attempt: a job that others keep stopping must come to an end.
        return code == Exit.STOPPED and self._shutdown.wait(SHUTDOWN_LAG_SECONDS)

    def _spared_by_the_kernel(self) -> bool:
        # Somebody else's kill says nothing of memory, and a smaller attempt would round its sums
        # differently. Where the kernel does not say, want of memory is the likelier cause.
        kills = kernel.out_of_memory_kills()
        return kills is not None and kills == self._kills_before

    @staticmethod
    def _fault(error: ErrorLine) -> Ending:
        # A bad checkpoint is not the job's fault: it is deleted and the job starts again. Upgrades
        # leave outdated ones, which count as no attempt. What wanted too much memory is tried again
        # in smaller pieces.
        if error.code == OutdatedCheckpoint.code:
            return Ending(Verdict.POSTPONED, code=error.code, detail=error.detail)
        own = error.code not in (CheckpointError.code, OUT_OF_MEMORY)
        verdict = Verdict.FAILED if own else Verdict.BROKEN
        return Ending(verdict, code=error.code, detail=error.detail)
