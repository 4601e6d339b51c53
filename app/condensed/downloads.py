"""Serving a file: whole or in part, with a validator that is its checksum."""

import logging
import re
import zipfile
from collections.abc import AsyncIterator
from typing import IO, Any, cast

from anyio import to_thread
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from app.condensed.registration import object_key
from app.kit.problems import answer
from app.kit.storage import ByteRange, Storage
from app.models import Condensed
from dcpi_core.spec.errors import NotFound

logger = logging.getLogger(__name__)

IMMUTABLE = "private, immutable, max-age=31536000"
ZIP = "application/zip"


def file_of(row: Condensed, path: str) -> dict[str, Any]:
    """The listed file with exactly this path; raises NotFound. Paths never touch a disk."""
    for file in row.files:
        if file["path"] == path:
            return file
    raise NotFound(f"no file {path!r}; this bundle has " + ", ".join(f["path"] for f in row.files))


def serve(request: Request, row: Condensed, path: str, storage: Storage) -> Response:
    """Answer GET or HEAD of a file, honouring If-None-Match, and for GET Range and If-Range."""
    file = file_of(row, path)
    etag, size = f'"{file["sha256"]}"', file["bytes"]
    name = re.sub(r"[^A-Za-z0-9._-]", "_", path.rsplit("/", 1)[-1])
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": IMMUTABLE,
        "Content-Disposition": f'inline; filename="{name}"',
    }
    if {etag, "*"} & tags_in(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":  # for which a range is not defined (RFC 9110, 14.2)
        require_stored([path], row, storage)
        headers["Content-Length"] = str(size)
        return Response(status_code=200, headers=headers, media_type=file["media_type"])
    part = _requested_part(request, etag, size)
    if part is not None and part.start >= size:
        response = answer(request, 416, "range_not_satisfiable", f"the file has {size} bytes")
        response.headers["Content-Range"] = f"bytes */{size}"
        return response
    content = _send(row, path, storage, part)
    if part is None:
        headers["Content-Length"] = str(size)
        return StreamingResponse(content, 200, headers, file["media_type"])
    headers["Content-Length"] = str(part.stop - part.start)
    headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
    return StreamingResponse(content, 206, headers, file["media_type"])


def serve_archive(request: Request, row: Condensed, storage: Storage) -> Response:
    """Answer GET or HEAD of the whole bundle as a zip."""
    require_stored([file["path"] for file in row.files], row, storage)
    headers = {"Content-Disposition": f'attachment; filename="{row.id}.zip"'}
    if request.method == "HEAD":
        response = Response(headers=headers, media_type=ZIP)
        del response.headers["Content-Length"]  # known only once the zip is made
        return response
    return StreamingResponse(zip_stream(row, storage), headers=headers, media_type=ZIP)


def require_stored(paths: list[str], row: Condensed, storage: Storage) -> None:
    """Make sure of the files before the answer begins; raises NotFound."""
    for path in paths:
        if not storage.exists(object_key(row.id, path)):
            raise _lost(row, path)


def _send(
    row: Condensed, path: str, storage: Storage, part: ByteRange | None
) -> AsyncIterator[memoryview]:
    try:
        return storage.send(object_key(row.id, path), part)
    except NotFound:
        raise _lost(row, path) from None


def _lost(row: Condensed, path: str) -> NotFound:
    logger.error("the storage has lost %s", object_key(row.id, path))
    return NotFound(f"the storage no longer has the file {path!r} of this bundle")


def tags_in(header: str) -> set[str]:
    """The entity tags of an If-None-Match header, weak ones as strong ones."""
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


def _requested_part(request: Request, etag: str, size: int) -> ByteRange | None:
    """The single range that was asked for; None to send everything.

    A range that is no single byte range is ignored, as RFC 9110 allows.
    """
    found = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", request.headers.get("range", ""))
    if found is None or request.headers.get("if-range", etag) != etag:
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:  # the last n bytes
        return ByteRange(max(size - int(last), 0), size) if int(last) else ByteRange(size, size)
    stop = min(int(last) + 1, size) if last else size
    return ByteRange(int(first), stop) if int(first) < max(stop, 1) or int(first) >= size else None


async def zip_stream(row: Condensed, storage: Storage) -> AsyncIterator[bytes]:
    """The bundle as a zip with stored members, made while it is sent.

    A thread is entered for each piece, for its checksum, and never waits in there for a storage or
    a receiver.
    """
    sink = _Sink()
    with zipfile.ZipFile(cast("IO[bytes]", sink), "w", zipfile.ZIP_STORED) as archive:
        for file in row.files:
            info = zipfile.ZipInfo(file["path"], (1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as member:
                async for piece in await storage.begin(object_key(row.id, file["path"])):
                    await to_thread.run_sync(member.write, piece, limiter=storage.threads)
                    yield sink.take()
            yield sink.take()
    yield sink.take()


class _Sink:
    """A file that can only be written, and forgets what has been sent."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        """What was written since the last call."""
        found, self._parts = b"".join(self._parts), []
        return found
