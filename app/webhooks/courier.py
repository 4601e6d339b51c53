"""A thread of the API that brings messages to their endpoints, several at a time."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from app.kit.db import SessionFactory, reading, unit_of_work
from app.settings import Settings
from app.webhooks import outbox, signing
from app.webhooks.addresses import is_public
from app.webhooks.outbox import Parcel

logger = logging.getLogger(__name__)

ROUND_SECONDS = 1.0
STOP_SECONDS = 1.0
AT_ONCE = 8
SEND_SECONDS = 15.0

Send = Callable[[str, dict[str, str], bytes], int]
"""Posts (url, headers, body) and returns the status; raises ``NoAnswer``."""


class NoAnswer(Exception):
    """A message was sent, or could not be, and nobody answered; says why."""


def sender(settings: Settings) -> Send:
    """Posts to public addresses, or to any if the settings allow private ones."""
    allowed = (lambda _: True) if settings.webhook_allow_private else is_public

    def send(url: str, headers: dict[str, str], body: bytes) -> int:
        # Here, because an HTTP client takes a tenth of the time in which the API starts.
        from app.webhooks.network import LOST, GuardedBackend, post  # noqa: PLC0415

        try:
            return post(url, headers, body, GuardedBackend(SEND_SECONDS, allowed))
        except LOST as lost:
            raise NoAnswer(f"{type(lost).__name__}: {lost}") from lost

    return send


class Courier:
    """Looks every second for messages whose time has come; any number may run at once."""

    def __init__(self, sessions: SessionFactory, send: Send) -> None:
        self._sessions = sessions
        self._send = send
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End soon; a message that is on its way is sent again by the next process."""
        self._over.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._over.wait(ROUND_SECONDS):
            try:
                while self.round() and not self._over.is_set():
                    pass
            except Exception as error:  # noqa: BLE001 - whatever it is, the next round may succeed
                logger.warning("webhooks wait: %s", error)

    def round(self) -> int:
        """Send what is due; returns how many messages that was."""
        with reading(self._sessions) as session:  # looking locks nothing
            if session.scalar(outbox.due(1)) is None:
                return 0
        with unit_of_work(self._sessions) as session:
            parcels = outbox.take(session, AT_ONCE)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._deliver, parcels))
        return len(parcels)

    def _deliver(self, parcel: Parcel) -> None:
        status, error = self._try(parcel)
        logger.info("webhook %s: %s", parcel.id, status or error)
        with unit_of_work(self._sessions) as session:
            outbox.settle(session, parcel.id, status, error)

    def _try(self, parcel: Parcel) -> tuple[int | None, str | None]:
        """Status of the answer, or why there is none; whatever happens, it counts as a try."""
        try:
            head = signing.headers(parcel.secrets, parcel.id, int(time.time()), parcel.body)
            head |= {"Content-Type": "application/json", "User-Agent": "dcpi-webhooks"}
            return self._send(parcel.url, head, parcel.body), None
        except NoAnswer as lost:
            return None, str(lost)[:500]
        except Exception as error:
            logger.exception("webhook %s cannot be sent", parcel.id)
            return None, f"it cannot be sent ({type(error).__name__})"
