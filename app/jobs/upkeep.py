"""What becomes of jobs with time alone: leases run out, deadlines pass, brokers forget.

Workers see to it, and the API too: a job comes to its end also while no worker is alive. Any number
may do so at once.
"""

import logging

from app.jobs import leases, reminders
from app.kit.broker import Bell
from app.kit.db import SessionFactory, finds, unit_of_work
from app.kit.duties import Duty
from app.settings import Settings

logger = logging.getLogger(__name__)


class Upkeep:
    """Duties of every round."""

    def __init__(self, sessions: SessionFactory, settings: Settings, bell: Bell) -> None:
        self._sessions = sessions
        self._bell = bell
        self._settings = settings

    def duties(self) -> list[Duty]:
        """All of them."""
        return [self.reap, self.expire, self.remind]

    def reap(self) -> None:
        """Give up the leases of workers that fell silent."""
        if not finds(self._sessions, leases.silent()):
            return
        with unit_of_work(self._sessions) as session:
            for job_id in leases.reap(session, self._settings.max_attempts):
                logger.warning("job %s: its worker fell silent", job_id)

    def expire(self) -> None:
        """End jobs that waited until their deadline."""
        if not finds(self._sessions, leases.overdue()):
            return
        with unit_of_work(self._sessions) as session:
            leases.expire(session)

    def remind(self) -> None:
        """Ring again where the broker seems to have forgotten."""
        after = self._settings.republish_seconds
        reminders.ring_again(self._sessions, after, self._bell.unheard)
