"""Reading a local file to send it: what lies in memory at once, what lies on the disk in a thread.

A file that somebody downloads is mostly in the page cache. To enter a thread for every piece of it
takes as long as to copy the piece, and of several downloads at once each waits for the others'
threads; to read from the disk without a thread would have all other requests wait.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from io import FileIO
from pathlib import Path

from anyio import CapacityLimiter, to_thread

CACHED_BYTES = 1 << 19
"""Of a piece that is in memory: it fits into the processor's cache on its way to the socket."""
DISK_BYTES = 1 << 20
NOWAIT = getattr(os, "RWF_NOWAIT", None)
"""Read only what is there already; Linux has it, and where it lacks everything goes by threads."""


def open_file(
    path: Path, threads: CapacityLimiter, start: int = 0, stop: int | None = None
) -> AsyncIterator[memoryview]:
    """Bytes ``start`` to ``stop`` of the file, the last excluded, in pieces; by default all.

    Args:
        path: of the file.
        threads: how many may read from the disk at once.
        start: the first byte.
        stop: the byte after the last.

    Raises:
        FileNotFoundError: at once, not with the first piece.
    """
    file = path.open("rb", buffering=0)
    end = os.fstat(file.fileno()).st_size if stop is None else stop
    return _pieces(file, threads, start, end)


async def _pieces(
    file: FileIO, threads: CapacityLimiter, at: int, stop: int
) -> AsyncIterator[memoryview]:
    with file:
        while at < stop:
            piece = _cached(file.fileno(), at, min(stop - at, CACHED_BYTES))
            if piece:
                await asyncio.sleep(0)  # others take their turns, however fast the receiver is
            else:
                read = partial(os.pread, file.fileno(), min(stop - at, DISK_BYTES), at)
                piece = memoryview(await to_thread.run_sync(read, limiter=threads))
            if not piece:  # the file has become shorter; the server tells that too little was sent
                return
            at += len(piece)
            yield piece


def _cached(file: int, at: int, count: int) -> memoryview | None:
    """What is in memory of the next ``count`` bytes; None if nothing is."""
    if NOWAIT is None:
        return None
    buffer = bytearray(count)
    try:
        found = os.preadv(file, [buffer], at, NOWAIT)
    except OSError:  # not in memory, or a file system that cannot tell; a thread meets real errors
        return None
    return memoryview(buffer)[:found] if found else None
