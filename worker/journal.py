"""What a running job reports, written to SQL for whoever watches it."""

import logging
import time
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app.jobs import leases
from app.jobs.events import LOG, PROGRESS, append_event
from app.jobs.leases import Lease, Wanted
from app.kit.db import SessionFactory, unit_of_work
from worker.protocol import LogLine, ProgressLine

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.5
MAX_LOG_EVENTS = 500
"""Per attempt; a job that talks without end must not fill the database."""


class Journal:
    """Progress a few times a second and every phase's last step; log lines up to a limit.

    Written only while the lease is held. A database that does not answer costs lines, not the job.
    """

    def __init__(self, sessions: SessionFactory, lease: Lease) -> None:
        self._sessions = sessions
        self._lease = lease
        self._written = -PROGRESS_SECONDS
        self._waiting: ProgressLine | None = None
        self._logged = 0

    def progress(self, line: ProgressLine) -> None:
        """Note a step; what comes too fast replaces what was noted just before."""
        if self._waiting is not None and self._waiting.phase is not line.phase:
            self.flush()
        self._waiting = line
        due = time.monotonic() - self._written >= PROGRESS_SECONDS
        if due or line.step == line.total_steps:
            self.flush()

    def log(self, line: LogLine) -> None:
        """Note a line of the job's log."""
        self._logged += 1
        if self._logged <= MAX_LOG_EVENTS:
            self._write(LOG, line.model_dump(mode="json", exclude={"type"}))

    def flush(self) -> None:
        """Write the step noted last, if it has not been written."""
        if self._waiting is None:
            return
        line, self._waiting = self._waiting, None
        data = line.model_dump(mode="json", exclude={"type"})
        data["fraction"] = line.step / max(line.total_steps, 1)
        self._write(PROGRESS, data)
        self._written = time.monotonic()

    def _write(self, kind: str, data: dict[str, Any]) -> None:
        try:
            with unit_of_work(self._sessions) as session:
                progress = data if kind == PROGRESS else None
                if leases.heartbeat(session, self._lease, progress) is not Wanted.FENCED:
                    append_event(session, self._lease.job_id, kind, data)
        except SQLAlchemyError as error:
            logger.warning("job %s: %s not recorded: %s", self._lease.job_id, kind, error)
