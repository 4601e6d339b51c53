"""Ends a family of processes when its head is gone, even by kill -9.

``python -m worker.watchdog`` reads lines from its standard input: ``+123`` to look after a process
group, ``-123`` to forget it. When the input ends, so do the groups that are left.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable

PATIENCE_SECONDS = 50.0  # more than a worker needs to hand over its job
POLL_SECONDS = 0.1
STILL_THERE = 0  # signal 0 only asks


def listen(lines: Iterable[str]) -> list[int]:
    """The groups to end, in the order they were named, once nobody speaks any more."""
    groups: dict[int, None] = {}
    for line in lines:
        word, group = line[:1], int(line[1:])
        if word == "+":
            groups[group] = None
        else:
            groups.pop(group, None)
    return list(groups)


def end(groups: Iterable[int], patience: float = PATIENCE_SECONDS) -> None:
    """Ask the groups to end, last come first, and after a while kill them."""
    left = [group for group in reversed(list(groups)) if signal_group(group, signal.SIGTERM)]
    deadline = time.monotonic() + patience
    while left and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        left = [group for group in left if signal_group(group, STILL_THERE)]
    for group in left:
        signal_group(group, signal.SIGKILL)


def signal_group(group: int, number: int) -> bool:
    """Whether there is such a group to signal."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


def main() -> None:
    """Outlive the head: what ends it must not end us."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end(listen(sys.stdin))


if __name__ == "__main__":
    main()
