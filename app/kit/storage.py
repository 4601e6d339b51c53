"""Object storage behind one interface: a local directory or S3.

Keys are made by us from identifiers, never from what a user typed.
"""

import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from anyio import CapacityLimiter, to_thread
from obstore.exceptions import BaseError as StorageError
from obstore.exceptions import GenericError as StorageAway
from obstore.exceptions import NotFoundError
from obstore.store import LocalStore, S3Store

from app.kit.local_files import open_file
from app.settings import Settings
from dcpi_core.spec.errors import NotFound

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import S3Config

__all__ = ["ByteRange", "Storage", "StorageAway", "StorageError", "open_storage"]

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
BODIES = 16
"""Threads that at once read local files or make archives, for answers that are being sent. They are
besides those of all other requests: a disk that hangs holds up no more than these."""
CONNECT_TIME = timedelta(seconds=5)
SILENCE_TIME = timedelta(seconds=30)
"""A storage that says nothing for so long is given up."""
LONGEST_TIME = timedelta(days=1)
"""For a whole object: it takes as long as who reads it. The store's own choice is 30 s."""
RETRY_TIME = timedelta(seconds=20)


@dataclass(frozen=True)
class ByteRange:
    """Bytes ``start`` to ``stop``, the last excluded."""

    start: int
    stop: int


class Storage:
    """Objects by key.

    Args:
        store: where they are.
        directory: the same, where every object is a file there.
    """

    def __init__(self, store: LocalStore | S3Store, directory: Path | None = None) -> None:
        self._store = store
        self._directory = directory
        self.threads = CapacityLimiter(BODIES)

    def put_file(self, key: str, path: Path) -> None:
        """Store a file; readers see the old object or the whole new one."""
        obstore.put(self._store, key, path)

    def get_file(self, key: str, path: Path) -> None:
        """Fetch an object into ``path``, atomically; raises NotFound."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part")
        chunks = self.read(key)
        with temporary.open("wb") as file:
            file.writelines(chunks)
        temporary.replace(path)

    def read(self, key: str, part: ByteRange | None = None) -> Iterator[bytes]:
        """The object's bytes, or a part of them, in pieces; raises NotFound at once."""
        if self._directory is not None:
            return _read_file(self._directory / key, part, key)
        found = self._get(key, part)
        return (bytes(chunk) for chunk in found.stream(min_chunk_size=CHUNK_BYTES))

    def send(self, key: str, part: ByteRange | None = None) -> AsyncIterator[memoryview]:
        """As ``read``, for a streamed answer: no thread waits for pieces that come from S3."""
        if self._directory is None:
            return _received(self._get(key, part))
        bounds = (part.start, part.stop) if part else ()
        try:
            return open_file(self._directory / key, self.threads, *bounds)
        except FileNotFoundError:
            raise _missing(key) from None

    async def begin(self, key: str) -> AsyncIterator[memoryview]:
        """As ``send``, in the midst of an answer: no thread waits for S3 to begin either."""
        if self._directory is not None:
            return await to_thread.run_sync(self.send, key, limiter=self.threads)
        try:
            return _received(await obstore.get_async(self._store, key))
        except (NotFoundError, FileNotFoundError):
            raise _missing(key) from None

    def _get(self, key: str, part: ByteRange | None) -> "GetResult":
        options: GetOptions = {"range": (part.start, part.stop)} if part else {}
        try:
            return obstore.get(self._store, key, options=options)
        except (NotFoundError, FileNotFoundError):
            raise _missing(key) from None

    def size(self, key: str) -> int:
        """Bytes of the object; raises NotFound."""
        try:
            return obstore.head(self._store, key)["size"]
        except (NotFoundError, FileNotFoundError):
            raise _missing(key) from None

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            self.size(key)
        except NotFound:
            return False
        return True

    def keys(self, prefix: str) -> list[str]:
        """Keys that begin with ``prefix/``, sorted."""
        found = (meta["path"] for page in obstore.list(self._store, prefix) for meta in page)
        return sorted(found)

    def delete(self, key: str) -> None:
        """Delete an object; nothing happens if there is none."""
        try:
            obstore.delete(self._store, key)
        except (NotFoundError, FileNotFoundError):
            return

    def check(self) -> None:
        """Raise whatever the storage raises when it cannot be reached."""
        next(iter(obstore.list(self._store, "ready", chunk_size=1)), None)


async def _received(found: "GetResult") -> AsyncIterator[memoryview]:
    async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
        yield memoryview(chunk)


def _read_file(path: Path, part: ByteRange | None, key: str) -> Iterator[bytes]:
    """As ``Storage.read``: the store would read a local file in pieces of 8 KiB."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise _missing(key) from None
    return _chunks(path, part or ByteRange(0, size))


def _chunks(path: Path, part: ByteRange) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        file.seek(part.start)
        left = part.stop - part.start
        while left > 0 and (chunk := file.read(min(left, CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk


def _missing(key: str) -> NotFound:
    # Keys are ours; what is raised may be shown to a user.
    logger.debug("no object %r", key)
    return NotFound("the storage does not have this object")


def open_storage(settings: Settings) -> Storage:
    """The storage that the settings name."""
    url = settings.resolved_storage_url
    if not url.startswith("s3://"):
        Path(url).mkdir(parents=True, exist_ok=True)
        return Storage(LocalStore(url), Path(url))
    return Storage(
        S3Store(
            url.removeprefix("s3://"),
            config=_s3_config(settings),
            client_options={
                "allow_http": settings.s3_endpoint.startswith("http://"),
                "connect_timeout": CONNECT_TIME,
                "read_timeout": SILENCE_TIME,
                "timeout": LONGEST_TIME,
            },
            # A request of a user waits for this; the default goes on for three minutes.
            retry_config={"max_retries": 3, "retry_timeout": RETRY_TIME},
        )
    )


def _s3_config(settings: Settings) -> "S3Config":
    """Where the bucket is, and the key to it unless the machine's own credentials will do."""
    config: S3Config = {"region": settings.s3_region}
    if settings.s3_endpoint:
        config["endpoint"] = settings.s3_endpoint
    if settings.s3_access_key_id and settings.s3_secret_access_key:
        config["access_key_id"] = settings.s3_access_key_id
        config["secret_access_key"] = settings.s3_secret_access_key.get_secret_value()
    return config
