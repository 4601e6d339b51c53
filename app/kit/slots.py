"""Slots for what takes long: so many in a process, and so many of them for one who asks."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class NoSlot(Exception):
    """All slots of this process are taken."""


class NoOwnSlot(NoSlot):
    """Who asks has as many of them as it may."""


class Slots:
    """Slots of one kind.

    Args:
        total: all there are in this process.
        each: most of them that one owner may hold.
    """

    def __init__(self, total: int, each: int) -> None:
        self.total, self.each = total, each
        self.taken = 0
        self._of: Counter[str] = Counter()

    @contextmanager
    def one(self, owner: str | None = None) -> Iterator[None]:
        """Hold a slot; ``owner`` is None where nobody needs a key.

        Raises:
            NoOwnSlot: this owner has as many as it may.
            NoSlot: there is none.
        """
        if self.taken >= self.total:
            raise NoSlot
        if owner is not None and self._of[owner] >= self.each:
            raise NoOwnSlot
        self.taken += 1
        if owner is not None:
            self._of[owner] += 1
        try:
            yield
        finally:
            self.taken -= 1
            if owner is not None:
                self._of[owner] -= 1
                self._of += Counter()  # forget owners that have none
