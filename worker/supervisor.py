"""From a message to a settled job: claim it, have a child run it, settle what came of it.

SQL decides who works on a job; the supervisor holds a lease on it, and everything it writes names
that lease. It loads no tensor library: the child does the work, and can be killed.
"""

import errno
import logging
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy.orm import Session

from app.jobs import picking, repository
from app.jobs.leases import Lease, Wanted
from app.jobs.states import Status
from app.kit import logs, outbox
from app.kit.db import reading, unit_of_work
from app.kit.storage import StorageError
from app.settings import Settings
from dcpi_core.spec.errors import CheckpointError, DatasetUnavailable, NotFound, OutdatedCheckpoint
from worker import shutdown
from worker.attempt import STOPPED_BEFORE_THE_END, Attempt, Ending, Patience, Verdict
from worker.checkpoints import Checkpoint
from worker.child import Child
from worker.journal import Journal
from worker.orders import Orders
from worker.places import Places
from worker.pulse import Pulse
from worker.settlement import Settlement
from worker.tools import Tools

logger = logging.getLogger(__name__)

NO_WORKSPACE = "no_workspace"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What a disk says on which no job could be begun."""


def runner_command(settings: Settings) -> list[str]:
    """How the child is started: in our environment, but without our passwords and keys."""
    hidden = [f"-u{name}" for name in settings.variables()]
    return ["env", *hidden, sys.executable, "-m", "worker.runner"]


class Supervisor:
    """Runs jobs, at most one per call of ``run``.

    Args:
        tools: settings and connections.
        command: starts the child; tests put a script in its place.
        stop: set when the process is to end; a running job is then handed over.
        patience: how long to wait for a child.
    """

    def __init__(
        self,
        tools: Tools,
        command: Sequence[str] | None = None,
        stop: threading.Event = shutdown.REQUESTED,
        patience: Patience | None = None,
    ) -> None:
        self._tools = tools
        self._command = list(command or runner_command(tools.settings))
        self._stop = stop
        self._patience = patience or Patience(silent=tools.settings.stall_seconds)
        self._places = Places(tools.settings.home)

    def run(self, job_id: str) -> None:
        """Run a job of the queue that this one was submitted to, whichever has its turn.

        There are at least as many messages as queued jobs, so none is forgotten; a message too
        many finds nothing to do. Messages that come while a tenant runs as many jobs as it may are
        made up for whenever one of these lets its worker go.
        """
        if self._stop.is_set():
            return self._pass_on(job_id)
        sessions, seconds = self._tools.sessions, self._tools.settings.lease_seconds
        with reading(sessions) as session:
            queue = self._queue_of(session, job_id)
        lease = picking.claim_next(sessions, queue, socket.gethostname(), seconds)
        if lease is None:
            logger.info("rung for job %s, but nothing waits on queue %s", job_id, queue)
            return None
        with (
            logs.bound(job_id=lease.job_id, attempt=lease.attempt),
            Pulse(sessions, lease, self._tools.settings.heartbeat_seconds) as pulse,
            ExitStack() as stack,
        ):
            logger.info("job %s: attempt %d begins", lease.job_id, lease.attempt)
            try:
                workspace = stack.enter_context(self._places.workspace(lease.token))
            except OSError as error:
                self._leave(lease, _not_begun(lease, error))
            else:
                self._work(lease, pulse, workspace)

    def _pass_on(self, job_id: str) -> None:
        """A message that came too late: this process ends, another may take the job."""
        with unit_of_work(self._tools.sessions) as session:
            outbox.ring(session, job_id, self._queue_of(session, job_id))

    def _queue_of(self, session: Session, job_id: str) -> str:
        """The job's own, whichever is the one of new jobs; that one if the job was deleted."""
        return repository.queue_of(session, job_id) or self._tools.settings.queue

    def _work(self, lease: Lease, pulse: Pulse, workspace: Path) -> None:
        checkpoint = Checkpoint(self._tools.storage, lease.job_id, workspace)
        try:
            ending = self._attempt(lease, pulse, workspace, checkpoint)
        except Exception as error:
            logger.exception("job %s: its supervisor failed", lease.job_id)
            detail = f"the worker failed ({type(error).__name__})"
            ending = Ending(Verdict.BROKEN, code="worker_error", detail=detail)
        if pulse.wanted is Wanted.FENCED:
            ending = Ending(Verdict.LOST)
        if ending.code in (CheckpointError.code, OutdatedCheckpoint.code):
            checkpoint.delete()  # before anybody else may claim the job and fetch it again
        if self._leave(lease, ending) is Status.SUCCEEDED:
            checkpoint.delete()  # otherwise a retry may go on from it

    def _leave(self, lease: Lease, ending: Ending) -> Status | None:
        status = Settlement(self._tools, lease, self._stop).settle(ending)
        now = status or "somebody else's"
        logger.info("job %s: %s, now %s %s", lease.job_id, ending.verdict, now, ending.detail)
        return status

    def _attempt(
        self, lease: Lease, pulse: Pulse, workspace: Path, checkpoint: Checkpoint
    ) -> Ending:
        try:
            order = Orders(self._tools, self._places).make(lease.job_id, workspace)
            checkpoint.fetch()
        except (DatasetUnavailable, NotFound) as error:
            return Ending(Verdict.FAILED, code=error.code, detail=error.detail)
        except StorageError as error:
            # Counted as an attempt, an outage of minutes would end every job that waits.
            logger.warning("job %s: nothing to begin with: %s", lease.job_id, error)
            detail = f"the storage could not be reached ({type(error).__name__})"
            return Ending(Verdict.POSTPONED, code="storage_error", detail=detail)
        except OSError as error:
            if error.errno not in FULL:
                raise
            return _not_begun(lease, error)
        journal = Journal(self._tools.sessions, lease)
        child = Child(self._command, order)
        with checkpoint:
            attempt = Attempt(child, journal, lambda: pulse.wanted, self._stop, self._patience)
            ending = attempt.follow()
        if ending.verdict in STOPPED_BEFORE_THE_END:
            checkpoint.try_to_store()
        return ending


def _not_begun(lease: Lease, error: OSError) -> Ending:
    """The worker has no disk to work on: no fault of the job, which others may be able to do."""
    logger.error("job %s: no workspace: %s", lease.job_id, error)
    detail = f"its worker has no disk to work on ({error.strerror or type(error).__name__})"
    return Ending(Verdict.POSTPONED, code=NO_WORKSPACE, detail=detail)
