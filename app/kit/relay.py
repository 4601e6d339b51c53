"""A thread of the API that empties the outbox."""

import logging
import threading
import time
from collections.abc import Callable

from app.kit import outbox
from app.kit.broker import Bell
from app.kit.db import SessionFactory

logger = logging.getLogger(__name__)

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
        remind: puts messages into the outbox that are due again; called once a second.
    """

    def __init__(self, sessions: SessionFactory, bell: Bell, remind: Callable[[], object]) -> None:
        self._sessions = sessions
        self._bell = bell
        self._remind = remind
        self._reminded = -ROUND_SECONDS
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
            try:
                self._round()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next round may succeed
                logger.warning("outbox waits: %s", error)
            if self._wake.wait(ROUND_SECONDS):
                self._over.wait(max(0.0, began + GATHER_SECONDS - time.monotonic()))
            self._wake.clear()

    def _round(self) -> None:
        if time.monotonic() - self._reminded >= ROUND_SECONDS:
            self._reminded = time.monotonic()
            self._remind()
        while outbox.relay(self._sessions, self._bell) == outbox.BATCH:
            continue
