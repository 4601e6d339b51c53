"""A thread of the API that empties the outbox, and sees to what else comes round."""

import threading
import time
from collections.abc import Sequence

from app.kit import outbox
from app.kit.broker import Bell
from app.kit.db import SessionFactory
from app.kit.duties import Duty, do_each

ROUND_SECONDS = 1.0
GATHER_SECONDS = 0.25
"""At least between two looks at what there is: many calls at once are worth one look. A call after
a quiet time is answered at once."""
STOP_SECONDS = 5.0


class Relay:
    """Sends what waits every second, and at once after ``wake``.

    Args:
        sessions: of the database with the outbox.
        bell: where the messages go.
        upkeep: other duties, called once a second; what they put into the outbox is sent at once.
    """

    def __init__(self, sessions: SessionFactory, bell: Bell, upkeep: Sequence[Duty]) -> None:
        self._sessions = sessions
        self._bell = bell
        self._upkeep = upkeep
        self._kept_up = -ROUND_SECONDS
        self._wake = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Look now: something was committed."""
        self._wake.set()

    def stop(self) -> None:
        """End after the current round; what is left is sent by the next process."""
        self._over.set()
        self._wake.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            do_each([*self._due(), self.relay])
            if self._wake.wait(ROUND_SECONDS):
                self._over.wait(max(0.0, began + GATHER_SECONDS - time.monotonic()))
            self._wake.clear()

    def _due(self) -> Sequence[Duty]:
        if time.monotonic() - self._kept_up < ROUND_SECONDS:
            return ()
        self._kept_up = time.monotonic()
        return self._upkeep

    def relay(self) -> None:
        """Send all that waits."""
        while outbox.relay(self._sessions, self._bell) == outbox.BATCH:
            continue
