"""The sign of life that keeps a lease, and the ear for what is wanted of the job."""

import logging
import threading
import time
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from app.jobs import leases
from app.jobs.leases import Lease, Wanted
from app.kit.db import SessionFactory, reading, unit_of_work

logger = logging.getLogger(__name__)

LISTEN_SECONDS = 1.0
JOIN_SECONDS = 10.0


class Pulse:
    """A thread of its own, since uploading a large file must not cost the lease.

    A database that does not answer is forgiven for as long as the lease lasts; after that somebody
    else may have the job, so it counts as lost, even while this thread still waits for an answer.
    """

    def __init__(self, sessions: SessionFactory, lease: Lease, every_seconds: float) -> None:
        self._sessions = sessions
        self._lease = lease
        self._every = every_seconds
        self._beat_at = time.monotonic()
        self._heard = Wanted.CONTINUE
        self._lost = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    @property
    def wanted(self) -> Wanted:
        """What was wanted when last heard; a lease that was lost once stays lost."""
        if self._heard is Wanted.FENCED or self._silent_for() > self._lease.seconds:
            self._lost.set()
        return Wanted.FENCED if self._lost.is_set() else self._heard

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(JOIN_SECONDS)  # it may wait for a database that will never answer

    def _run(self) -> None:
        pause = min(LISTEN_SECONDS, self._every)
        while self.wanted is not Wanted.FENCED and not self._over.wait(pause):
            try:
                self._heard = self._listen()
            except SQLAlchemyError as error:
                logger.warning("job %s: no heartbeat: %s", self._lease.job_id, error)

    def _silent_for(self) -> float:
        return time.monotonic() - self._beat_at

    def _listen(self) -> Wanted:
        began = time.monotonic()
        if began - self._beat_at < self._every:
            return self._look()
        with unit_of_work(self._sessions) as session:
            found = leases.heartbeat(session, self._lease)
        self._beat_at = began
        return found

    def _look(self) -> Wanted:
        with reading(self._sessions) as session:
            return leases.look(session, self._lease)
