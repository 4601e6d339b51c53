"""What a running job reports, written to SQL for whoever watches it."""

import logging
import time
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app.jobs import leases
from app.jobs.events import LOG, PROGRESS, append_event
from app.jobs.leases import Lease, Wanted
from app.kit.db import SessionFactory, unit_of_work
from worker.pace import Pace
from worker.protocol import LogLine, ProgressLine

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.5
MAX_PROGRESS_EVENTS = 5000
MAX_LOG_EVENTS = 500
"""Both per attempt; a job that talks without end must not fill the database."""
SHOWN_ONLY = "shown only"
"""Progress on the job's row without an event."""


class Journal:
    """Progress on the job's row, and as events ever more rarely; log lines up to a limit.

    The row is written twice a second at most. Every phase's last step becomes an event as well.
    Written only while the lease is held. A database that does not answer costs lines, not the job.
    """

    def __init__(self, sessions: SessionFactory, lease: Lease) -> None:
        self._sessions = sessions
        self._lease = lease
        began = time.monotonic()
        self._shown = began - PROGRESS_SECONDS
        self._pace = Pace(began, PROGRESS_SECONDS)
        self._appended = 0
        self._waiting: ProgressLine | None = None
        self._logged = 0

    def progress(self, line: ProgressLine) -> None:
        """Note a step; what comes too fast replaces what was noted just before."""
        if self._waiting is not None and self._waiting.phase is not line.phase:
            self.flush()
        self._waiting = line
        moment = time.monotonic()
        if self._pace.due(moment) or line.step == line.total_steps:
            self.flush()
        elif moment - self._shown >= PROGRESS_SECONDS:
            self._write(SHOWN_ONLY, _data(line))
            self._shown = moment

    def log(self, line: LogLine) -> None:
        """Note a line of the job's log."""
        self._logged += 1
        if self._logged <= MAX_LOG_EVENTS:
            self._write(LOG, line.model_dump(mode="json", exclude={"type"}))

    def flush(self) -> None:
        """Append the step noted last, unless it is an event already."""
        if self._waiting is None:
            return
        line, self._waiting = self._waiting, None
        self._appended += 1
        kind = PROGRESS if self._appended <= MAX_PROGRESS_EVENTS else SHOWN_ONLY
        self._write(kind, _data(line))
        self._shown = time.monotonic()
        self._pace.spoke(self._shown)

    def _write(self, kind: str, data: dict[str, Any]) -> None:
        try:
            with unit_of_work(self._sessions) as session:
                progress = None if kind == LOG else data
                held = leases.heartbeat(session, self._lease, progress) is not Wanted.FENCED
                if held and kind != SHOWN_ONLY:
                    append_event(session, self._lease.job_id, kind, data)
        except SQLAlchemyError as error:
            logger.warning("job %s: %s not recorded: %s", self._lease.job_id, kind, error)


def _data(line: ProgressLine) -> dict[str, Any]:
    data = line.model_dump(mode="json", exclude={"type"})
    data["fraction"] = line.step / max(line.total_steps, 1)
    return data
