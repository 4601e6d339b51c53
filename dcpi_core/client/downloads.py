"""Downloads that resume where they broke off and are kept only if their sha256 agrees."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from dcpi_core.client.errors import ServiceUnreachable
from dcpi_core.client.models import RemoteFile
from dcpi_core.client.transport import Transport
from dcpi_core.spec.errors import BundleError, InvalidInput
from dcpi_core.spec.manifest import MANIFEST_NAME, plain_path

PART = ".part"

OnBytes = Callable[[str, int, int], None]
"""Called with (path, bytes so far, bytes in all) while a file arrives."""


def ignore_bytes(path: str, done: int, total: int) -> None:
    """For callers that do not watch."""


def manifest_last(files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """In the order of arrival; as where bundles are written, one with a manifest is whole."""
    return sorted(files, key=lambda file: file.path == MANIFEST_NAME)


def refuse_foreign(directory: Path, files: Sequence[RemoteFile]) -> None:
    """Leave alone what is no earlier download of these files: theirs would replace what is there.

    With their manifest it is one, whatever has become of it since, and is mended. Without it there
    is nothing but what a download leaves that was broken off.

    Raises:
        InvalidInput: names a file that a download did not leave.
    """
    if not directory.exists():
        return
    if not directory.is_dir():
        raise InvalidInput(f"{str(directory)!r} is no directory; name another one")
    announced = {directory / plain_path(file.path): file for file in files}
    manifest = directory / MANIFEST_NAME
    if manifest in announced and _is_intact(manifest, announced[manifest]):
        return
    parts = {path.with_name(path.name + PART) for path in announced}
    for path in directory.rglob("*"):
        if path.is_dir() or path in parts:
            continue
        if path not in announced or not _is_intact(path, announced[path]):
            raise InvalidInput(
                f"{str(directory)!r} holds {str(path.relative_to(directory))!r}, which is not from "
                "an earlier download of this bundle; name a new or empty directory"
            )


def _is_intact(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes and file_digest(path) == file.sha256


def download_file(
    transport: Transport, url: str, file: RemoteFile, directory: Path, on_bytes: OnBytes
) -> Path:
    """Fetch one file into ``directory``; what is already there and right is not fetched again.

    The bytes arrive in a ``.part`` file beside the target, so that an interrupted download can be
    taken up again, and a complete one appears at once.

    Raises:
        BundleError: the path would leave ``directory``, or the content is not what was announced.
        ServiceUnreachable: the connection broke on every attempt.
    """
    target = directory / plain_path(file.path)
    if _is_intact(target, file):
        on_bytes(file.path, file.bytes, file.bytes)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + PART)
    continued = part.exists()
    _fill(transport, url, file, part, on_bytes)
    if continued and file_digest(part) != file.sha256:
        # What was there came from another version of the file: begin again, once.
        part.unlink()
        _fill(transport, url, file, part, on_bytes)
    if file_digest(part) != file.sha256:
        part.unlink()
        raise BundleError(f"{file.path} arrived with another sha256 than announced; try again")
    part.replace(target)
    return target


def file_digest(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fill(transport: Transport, url: str, file: RemoteFile, part: Path, on_bytes: OnBytes) -> None:
    """Request the missing bytes until none is; a break that brought some does not count."""
    part.touch()
    breaks = 0
    while (have := part.stat().st_size) < file.bytes:
        try:
            _receive(transport, url, file, part, on_bytes)
        except httpx.TransportError as error:
            breaks = 0 if part.stat().st_size > have else breaks + 1
            if breaks > transport.retries:
                raise ServiceUnreachable(f"{file.path}: the download broke off: {error}") from error
            transport.pause(breaks)
        else:
            return


def _receive(
    transport: Transport, url: str, file: RemoteFile, part: Path, on_bytes: OnBytes
) -> None:
    have = part.stat().st_size
    headers = {"Accept-Encoding": "identity"}
    if have:
        # If-Range: should the file have changed meanwhile, the service sends it whole.
        headers |= {"Range": f"bytes={have}-", "If-Range": f'"{file.sha256}"'}
    with transport.open(
        lambda: transport.http.build_request("GET", url, headers=headers)
    ) as answer:
        resumed = answer.status_code == httpx.codes.PARTIAL_CONTENT
        done = have if resumed else 0
        with part.open("ab" if resumed else "wb") as stream:
            # Chunks as they come: larger ones would be lost if the connection broke inside them.
            for chunk in answer.iter_bytes():
                stream.write(chunk)
                done += len(chunk)
                _refuse_excess(file, done)
                on_bytes(file.path, done, file.bytes)


def _refuse_excess(file: RemoteFile, done: int) -> None:
    if done > file.bytes:
        raise BundleError(f"{file.path} is longer than the {file.bytes} bytes announced")
