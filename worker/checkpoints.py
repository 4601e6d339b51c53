"""The checkpoint of a running job: fetched before, stored again and again during the work."""

import logging
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from app.jobs.checkpoints import FILE, key_of
from app.kit.storage import Storage
from dcpi_core.spec.errors import NotFound

logger = logging.getLogger(__name__)

UPLOAD_SECONDS = 5.0
UPLOAD_SHARE = 0.1
"""Of the time, at most, that goes into uploads: large checkpoints are stored less often."""
LOOK_SECONDS = 0.5
JOIN_SECONDS = 1.0
LINK = "upload.safetensors"


class Checkpoint:
    """Keeps the stored checkpoint as new as the one on disk, some seconds behind.

    The runner replaces its file atomically and the upload reads a hard link, hence one whole
    version, never half of one.
    """

    def __init__(
        self, storage: Storage, job_id: str, workspace: Path, every_seconds: float = UPLOAD_SECONDS
    ) -> None:
        self._storage = storage
        self._key = key_of(job_id)
        self._file = workspace / FILE
        self._every = every_seconds
        self._stored: tuple[int, int] | None = None
        self._one_at_a_time = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def fetch(self) -> bool:
        """Put the stored checkpoint, if there is one, where the runner looks for it."""
        try:
            self._storage.get_file(self._key, self._file)
        except NotFound:
            return False
        self._stored = _version(self._file)
        return True

    def store(self) -> bool:
        """Upload the file unless this version is stored already; whether it was uploaded.

        Raises:
            Exception: whatever the storage raises.
        """
        with self._one_at_a_time:
            if _version(self._file) in (None, self._stored):
                return False
            link = self._file.with_name(LINK)
            link.unlink(missing_ok=True)
            link.hardlink_to(self._file)
            self._storage.put_file(self._key, link)
            self._stored = _version(link)
            return True

    def try_to_store(self) -> bool:
        """As ``store``, but a failure is only logged: it costs steps, not the job."""
        try:
            return self.store()
        except Exception as error:  # noqa: BLE001 - drivers raise what they like
            logger.warning("%s was not stored: %s", self._key, error)
            return False

    def delete(self) -> None:
        """Forget the stored checkpoint; housekeeping deletes it later should this fail."""
        try:
            self._storage.delete(self._key)
        except Exception as error:  # noqa: BLE001 - drivers raise what they like
            logger.warning("%s was not deleted: %s", self._key, error)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(JOIN_SECONDS)  # a cancelled job does not wait for a long upload

    def _run(self) -> None:
        pause = 0.0
        while not self._over.wait(max(pause, min(LOOK_SECONDS, self._every))):
            began = time.monotonic()
            stored = self.try_to_store()
            spent = time.monotonic() - began
            pause = max(self._every, spent / UPLOAD_SHARE) if stored else 0.0


def _version(file: Path) -> tuple[int, int] | None:
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns
