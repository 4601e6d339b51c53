"""What every worker does besides its job: give up dead leases, ring bells, sweep up.

Everything here may be done by several processes at once, and done twice, without harm.
"""

import logging
import threading
import time
from datetime import timedelta
from functools import cache

from sqlalchemy import or_, select

from app.datasets import uploads
from app.jobs import checkpoints, leftovers
from app.jobs.states import TERMINAL, Status
from app.jobs.upkeep import Upkeep
from app.kit import erasure, idempotency, outbox
from app.kit.clock import now
from app.kit.db import reading, unit_of_work
from app.kit.duties import do_each
from app.models import Dataset, Job
from app.removal import service as removal
from app.settings import Settings
from app.webhooks import service as webhooks
from worker import shutdown
from worker.places import Places
from worker.tools import Tools

logger = logging.getLogger(__name__)

ROUND_SECONDS = 2.0
SWEEP_SECONDS = 600.0
CACHE_BYTES = 20 * 2**30


class Housekeeper:
    """Small duties in rounds; one that fails is logged and tried again in the next round."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self.upkeep = Upkeep(tools.sessions, tools.settings, tools.bell)
        self._places = Places(tools.settings.home)
        self._swept_at = -SWEEP_SECONDS
        self._more_old = False

    def run(self, stop: threading.Event, every_seconds: float = ROUND_SECONDS) -> None:
        """Rounds until ``stop`` is set."""
        while not stop.wait(every_seconds):
            self.round()

    def round(self) -> None:
        """One round; the sweeping only once in a while."""
        duties = [*self.upkeep.duties(), self.relay, self.erase]
        if self._more_old:
            duties += [self.sweep_old]
        if time.monotonic() - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            duties += [self.sweep_places, self.sweep_checkpoints, self.sweep_keys]
            duties += [self.sweep_cache, self.sweep_old, self.sweep_messages]
        do_each(duties)

    def relay(self) -> None:
        """Send what waits in the outbox."""
        outbox.relay(self._tools.sessions, self._tools.bell)

    def erase(self) -> None:
        """Delete the objects of what was deleted."""
        erasure.carry_out(self._tools.sessions, self._tools.storage, leftovers.due())

    def sweep_old(self) -> None:
        """Delete jobs that ended too long ago, if the settings say when that is.

        A batch at a time, the next one in the next round: dead leases do not wait for all.
        """
        days = self._tools.settings.retention_days
        if days is None:
            return
        with unit_of_work(self._tools.sessions) as session:
            found = removal.delete_old(session, days)
        self._more_old = len(found) == removal.BATCH
        for job_id in found:
            logger.info("job %s: deleted after %g days", job_id, days)

    def sweep_messages(self) -> None:
        """Delete the record of webhooks that were settled long ago."""
        with unit_of_work(self._tools.sessions) as session:
            webhooks.forget_old(session)

    def sweep_cache(self) -> None:
        """Delete this machine's copies of datasets that were deleted."""
        with reading(self._tools.sessions) as session:
            keys = session.scalars(select(Dataset.storage_key)).all()
        for path in self._places.drop_cached(keys):
            logger.info("deleted %s", path)

    def sweep_places(self) -> None:
        """Delete what is kept beyond the limits and what killed processes left."""
        settings = self._tools.settings
        found = [*self._places.prune_cache(CACHE_BYTES), *self._places.prune_assets()]
        found += self._places.sweep_work()
        for path in [*found, *uploads.sweep(settings.home, settings.inspect_seconds)]:
            logger.info("deleted %s", path)

    def sweep_keys(self) -> None:
        """Delete answers to requests that are too old to be repeated."""
        with unit_of_work(self._tools.sessions) as session:
            count = idempotency.forget_expired(session)
        logger.info("forgot %d idempotency keys", count)

    def sweep_checkpoints(self) -> None:
        """Delete checkpoints of jobs that have ended, once it is too late to retry from them.

        Of jobs that are no longer there too: an upload may end after its job was deleted.
        """
        # Before the database: a job is there before its checkpoint.
        keys = self._tools.storage.keys(checkpoints.PREFIX)
        stored = {checkpoints.job_of(key): key for key in keys}
        limit = now() - timedelta(hours=self._tools.settings.keep_checkpoints_hours)
        useless = or_(Job.status == Status.SUCCEEDED, Job.finished_at < limit)
        with reading(self._tools.sessions) as session:
            own = select(Job.id).where(Job.id.in_(list(stored)))
            ended = session.scalars(own.where(Job.status.in_(TERMINAL), useless)).all()
            gone = stored.keys() - session.scalars(own).all()
        for job_id in gone.union(ended):
            self._tools.storage.delete(stored[job_id])


@cache  # a worker is "ready" anew after each reconnection to its broker
def start() -> threading.Thread:
    """Keep house in a thread of this process until it is asked to end."""
    keeper = Housekeeper(Tools.from_settings(Settings.read()))
    thread = threading.Thread(
        target=keeper.run, args=(shutdown.REQUESTED,), name="housekeeping", daemon=True
    )
    thread.start()
    return thread
