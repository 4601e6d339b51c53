"""Directories of uploads that are being taken in."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "upload-"
MARGIN_SECONDS = 3600.0
"""Beyond the time for reading an upload: for copying it in and for storing it."""


@contextmanager
def folder(home: Path) -> Iterator[Path]:
    """A new directory for one upload, gone afterwards."""
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=PREFIX) as name:
        yield Path(name)


def sweep(home: Path, inspect_seconds: float) -> list[Path]:
    """Delete what processes left that were killed over an upload; returns what was deleted."""
    oldest = time.time() - inspect_seconds - MARGIN_SECONDS
    found = [path for path in home.glob(f"{PREFIX}*") if _changed(path) < oldest]
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return found


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # done with by now
        return time.time()
