"""A thread of the API that brings messages to their endpoints, several at a time.

A receiver may take as long as ``SEND_SECONDS`` for each message, or never answer. It holds up its
own messages only: an endpoint and a tenant have so many on their way, and no message waits for the
others that were begun with it.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from app.kit.db import SessionFactory, reading, unit_of_work
from app.settings import Settings
from app.webhooks import outbox, signing
from app.webhooks.addresses import is_public
from app.webhooks.outbox import Parcel, Waiting

logger = logging.getLogger(__name__)

ROUND_SECONDS = 1.0
BREATH_SECONDS = 0.1  # between looks, each of which goes through all that is due
STOP_SECONDS = 1.0
AT_ONCE = 16
PER_TENANT = 4
PER_ENDPOINT = 2
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
    """Looks every second for messages whose time has come; any number may run at once.

    It looks at once where another message has arrived, or has failed to.
    """

    def __init__(self, sessions: SessionFactory, send: Send) -> None:
        self._sessions = sessions
        self._send = send
        self._on_way: dict[str, Parcel] = {}
        self._pool = ThreadPoolExecutor(AT_ONCE, "webhook")
        self._wake = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End soon; a message that is on its way is sent again by the next process."""
        self._over.set()
        self._wake.set()
        self._thread.join(STOP_SECONDS)
        self._pool.shutdown(wait=False)

    def _run(self) -> None:
        while True:
            self._wake.wait(ROUND_SECONDS)
            self._wake.clear()
            if self._over.is_set():
                return
            try:
                self.round()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next round may succeed
                logger.warning("webhooks wait: %s", error)
            self._over.wait(BREATH_SECONDS)

    def round(self) -> list[Future[None]]:
        """Begin to send what is due, as far as there is room; returns what was begun."""
        with reading(self._sessions) as session:  # looking locks nothing
            chosen = self._choose(outbox.waiting(session, PER_ENDPOINT))
        if not chosen:
            return []
        with unit_of_work(self._sessions) as session:
            parcels = outbox.take(session, chosen)
        return [self._begin(parcel) for parcel in parcels]

    def _begin(self, parcel: Parcel) -> Future[None]:
        self._on_way[parcel.id] = parcel
        try:
            return self._pool.submit(self._deliver, parcel)
        except RuntimeError:  # no thread to be had: it is sent again in a minute
            del self._on_way[parcel.id]
            raise

    def _choose(self, waiting: Iterable[Waiting]) -> list[str]:
        """Which of the messages find room beside those that are on their way."""
        on_way = list(self._on_way.values())
        endpoints = Counter(parcel.endpoint_id for parcel in on_way)
        tenants = Counter(parcel.tenant_id for parcel in on_way)
        chosen: list[str] = []
        for message in waiting:
            if len(on_way) + len(chosen) == AT_ONCE:
                break
            endpoint, tenant = message.endpoint_id, message.tenant_id
            if message.id in self._on_way:  # its answer takes longer than others may have to wait
                continue
            if endpoints[endpoint] < PER_ENDPOINT and tenants[tenant] < PER_TENANT:
                endpoints[endpoint] += 1
                tenants[tenant] += 1
                chosen.append(message.id)
        return chosen

    def _deliver(self, parcel: Parcel) -> None:
        try:
            status, error = self._try(parcel)
            logger.info("webhook %s: %s", parcel.id, status or error)
            with unit_of_work(self._sessions) as session:
                outbox.settle(session, parcel.id, status, error)
        except Exception as error:  # noqa: BLE001 - it is sent again in a minute
            logger.warning("webhook %s: what became of it is not recorded: %s", parcel.id, error)
        finally:
            self._on_way.pop(parcel.id, None)
            self._wake.set()

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
