"""Waiting for something that another thread or process does."""

import time
from collections.abc import Callable


def until(happened: Callable[[], object], seconds: float = 10.0) -> None:
    """Return once it has happened; fails when it does not."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
