"""Slots for answers that stay open: so many in a process, and so many of them for one API key."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from dcpi_core.spec.errors import FieldProblem, QuotaExceeded

RETRY_AFTER_SECONDS = 10


class NoSlot(Exception):
    """All slots of this process are taken."""


class StreamSlots:
    """Event streams and long polls that are open here."""

    def __init__(self, total: int, per_key: int) -> None:
        self._total, self._per_key = total, per_key
        self._by_key: Counter[str] = Counter()
        self.taken = 0

    @contextmanager
    def one(self, key_id: str | None = None) -> Iterator[None]:
        """Hold a slot; ``key_id`` is None where no key is needed.

        Raises:
            NoSlot: there is none.
            QuotaExceeded: this key has as many as it may.
        """
        if self.taken >= self._total:
            raise NoSlot
        if key_id is not None and self._by_key[key_id] >= self._per_key:
            detail = (
                f"this API key has {self._per_key} event streams and requests that wait open here, "
                "and may have no more; close one, or ask for the events as JSON, or try again in "
                f"{RETRY_AFTER_SECONDS} s"
            )
            problem = FieldProblem("", "streams_per_key", detail)
            raise QuotaExceeded(detail, [problem], retry_after_seconds=RETRY_AFTER_SECONDS)
        self.taken += 1
        if key_id is not None:
            self._by_key[key_id] += 1
        try:
            yield
        finally:
            self.taken -= 1
            if key_id is not None:
                self._by_key[key_id] -= 1
                self._by_key += Counter()  # forget keys that have none
