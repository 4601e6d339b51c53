"""What this process has answered: counts and seconds by route, and one line in the log for each."""

import logging
import threading
import time
from collections import defaultdict

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kit.exposition import Metric, Sample
from app.kit.logs import bound

logger = logging.getLogger(__name__)

BUCKETS = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)
"""Upper limits in seconds; event streams are open for longer and land above."""
UNKNOWN = "unknown"
"""Route of a path that none has: labels must not grow with what strangers ask for."""
METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})


class Requests:
    """Counters that several threads may add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str, str], int] = defaultdict(int)
        self._buckets: dict[str, list[int]] = defaultdict(lambda: [0] * (len(BUCKETS) + 1))
        self._seconds: dict[str, float] = defaultdict(float)

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        place = next((i for i, limit in enumerate(BUCKETS) if seconds <= limit), len(BUCKETS))
        with self._lock:
            self._counts[method if method in METHODS else "other", route, str(status)] += 1
            self._buckets[route][place] += 1
            self._seconds[route] += seconds

    def metrics(self) -> list[Metric]:
        """Counts by method, route and status; seconds by route."""
        with self._lock:
            counts = [
                Sample(count, {"method": method, "route": route, "status": status})
                for (method, route, status), count in sorted(self._counts.items())
            ]
            seconds = [sample for route in sorted(self._buckets) for sample in self._of(route)]
        return [
            Metric("http_requests_total", "counter", "Answers of this process.", counts),
            Metric("http_request_seconds", "histogram", "Seconds to the last byte.", seconds),
        ]

    def _of(self, route: str) -> list[Sample]:
        found, total = [], 0
        limits = [*(f"{limit:g}" for limit in BUCKETS), "+Inf"]
        for limit, count in zip(limits, self._buckets[route], strict=True):
            total += count
            found.append(Sample(total, {"route": route, "le": limit}, "_bucket"))
        own = {"route": route}
        return [*found, Sample(self._seconds[route], own, "_sum"), Sample(total, own, "_count")]


class WatchedRequests:
    """Counts and logs every request; inside, records carry its id."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = 500, time.monotonic()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with bound(request_id=scope["state"]["request_id"]):
            try:
                await self._app(scope, receive, watched)
            finally:
                seconds = time.monotonic() - began
                route = getattr(scope.get("route"), "path", UNKNOWN)
                self._requests.add(scope["method"], route, status, seconds)
                logger.info("%s %s %d", scope["method"], scope["path"], status)
