"""Directories of a worker below its home: one per running job, and what jobs share.

A running job's directory is locked, and the kernel drops the lock with the process; so what a
killed worker left behind can be told from what is in use, and swept away.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.kit.storage import Storage
from dcpi_core import pruning

LOCK = ".lock"
SETTLING_SECONDS = 60.0
"""A directory younger than this may be about to be locked."""


class Places:
    """Where things are below ``home``."""

    def __init__(self, home: Path) -> None:
        root = home.absolute()
        self.work = root / "work"
        self.assets = root / "assets"
        self.cache = root / "cache" / "datasets"

    @contextmanager
    def workspace(self, name: str) -> Iterator[Path]:
        """A new directory for one attempt at a job, gone afterwards."""
        path = self.work / name
        path.mkdir(parents=True)
        try:
            with (path / LOCK).open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def dataset(self, storage: Storage, key: str, workspace: Path) -> Path:
        """An uploaded dataset's file in the workspace, fetched unless it is cached.

        Raises:
            NotFound: the storage does not have it.
        """
        cached, own = self.cache / Path(key).name, workspace / "dataset.safetensors"
        try:
            own.hardlink_to(cached)  # stays, should the cache be pruned now
        except FileNotFoundError:
            storage.get_file(key, own)
            cached.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # several workers may share this cache
                cached.hardlink_to(own)
        os.utime(own)  # the same file as the cached one: it was used now
        return own

    def prune_cache(self, max_bytes: int) -> list[Path]:
        """Delete the datasets that were not used for longest until the rest fits."""
        return pruning.prune(self.cache.glob("*.safetensors"), max_bytes)

    def prune_assets(self, max_bytes: int = pruning.ASSET_BYTES) -> list[Path]:
        """Delete what jobs kept for later ones, the least recently used first; it is made again."""
        return pruning.prune_assets(self.assets, max_bytes)

    def drop_cached(self, known: Iterable[str]) -> list[Path]:
        """Delete cached datasets that are none of the ``known`` storage keys."""
        names = {Path(key).name for key in known}
        gone = [path for path in self.cache.glob("*.safetensors") if path.name not in names]
        for path in gone:
            path.unlink(missing_ok=True)
        return gone

    def sweep_work(self) -> list[Path]:
        """Delete directories whose worker is gone."""
        abandoned = [path for path in self.work.glob("*") if _is_abandoned(path)]
        for path in abandoned:
            shutil.rmtree(path, ignore_errors=True)
        return abandoned


def _is_abandoned(path: Path) -> bool:
    try:
        if time.time() - path.stat().st_mtime < SETTLING_SECONDS:
            return False
        with (path / LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):  # gone by now, or in use
        return False
    return True
