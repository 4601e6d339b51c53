"""The entries of a zip or tar archive, one after the other, with nothing extracted to disk."""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, Self

from dcpi_core.datasets.archive.limits import Limits, Meter
from dcpi_core.datasets.archive.names import Parts, split_name
from dcpi_core.datasets.archive.place import Place
from dcpi_core.datasets.archive.refusal import quote, refuse
from dcpi_core.spec.errors import ArchiveError

FORMATS = "zip, tar, tar.gz, tar.xz or tar.bz2"

HEADER_BYTES = 1 << 20
"""Bytes that may pass between the data of two tar entries: a header may claim to be gigabytes
long, and tarfile would hold it in memory."""

BLOCK_BYTES = 1 << 16

ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The other methods are decompressed a whole block at a time, however large it becomes."""


@dataclass(frozen=True)
class Member:
    """A file with its contents, or a folder, which has none."""

    parts: Parts
    data: bytes | None

    @property
    def name(self) -> str:
        return "/".join(self.parts)


def members(path: Path, limits: Limits, place: Place | None = None) -> Iterator[Member]:
    """Every entry in the order of the archive, the root folder left out.

    Args:
        path: the archive.
        limits: what is refused as too large.
        place: told of every entry, before its data is read and when the next one is asked for.

    Raises:
        ArchiveError: not an archive, damaged, encrypted, beyond the limits, or an entry is neither
            a plain file nor a folder, or its name is unsafe.
    """
    place = place or Place()
    with path.open("rb") as file:
        start = file.read(8)
        file.seek(0)
        meter = Meter(limits, path.stat().st_size, place)
        read = _zip_members if start.startswith(b"PK") else _tar_members
        try:
            yield from read(file, limits, meter)
        except (ArchiveError, MemoryError):
            raise
        # Damaged archives make the readers raise almost anything: struct, index and recursion
        # errors besides their own. Only the readers run in this block.
        except Exception as error:
            what = str(error) or type(error).__name__
            raise refuse(f"the archive is damaged {place}: {what}") from error


def _zip_members(file: IO[bytes], limits: Limits, meter: Meter) -> Iterator[Member]:
    with _open_zip(file) as archive:
        for info in archive.infolist():
            meter.enter(info.orig_filename)
            # zipfile itself cuts the name at a NUL and turns backslashes; the original tells.
            parts = split_name(info.orig_filename)
            _check_zip_entry(info)
            if info.is_dir():
                data = None
            else:
                with archive.open(info) as stream:
                    data = _read_bounded(stream, info.orig_filename, limits, meter)
            if parts:
                yield Member(parts, data)
            meter.leave()


def _open_zip(file: IO[bytes]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except UnicodeDecodeError as error:
        split_name(error.object.decode("utf-8", "surrogateescape"))  # says which name it is
        raise


def _check_zip_entry(info: zipfile.ZipInfo) -> None:
    name = quote(info.orig_filename)
    if info.flag_bits & 0x1:
        raise refuse(f"entry {name} is encrypted; upload an archive without a password")
    if info.compress_type not in ZIP_METHODS:
        raise refuse(
            f"entry {name} is compressed with zip method {info.compress_type}; "
            "entries must be stored or deflated"
        )
    # Archives written on Windows leave the upper half, the Unix mode, at zero.
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _not_plain(info.orig_filename)


def _tar_members(file: IO[bytes], limits: Limits, meter: Meter) -> Iterator[Member]:
    stream = _MeteredStream(_decompressed(file), meter)
    stream.make_room(HEADER_BYTES)
    with _open_tar(stream) as tar:
        while info := tar.next():
            # tarfile remembers every entry; with two million of them that is gigabytes.
            tar.members.clear()  # type: ignore[attr-defined]
            meter.enter(info.name)
            parts = split_name(info.name)
            data = None if info.isdir() else _read_tar_entry(tar, info, stream, limits)
            if parts:
                yield Member(parts, data)
            meter.leave()
            stream.make_room(HEADER_BYTES)
        _check_end(tar, stream)


def _open_tar(stream: "_MeteredStream") -> tarfile.TarFile:
    try:
        return tarfile.open(
            fileobj=stream, mode="r|", bufsize=BLOCK_BYTES, tarinfo=_StrictHeader, encoding="utf-8"
        )
    except _BadHeader:
        raise refuse(f"the file is not an archive, or damaged; allowed are {FORMATS}") from None


def _read_tar_entry(
    tar: tarfile.TarFile, info: tarfile.TarInfo, stream: "_MeteredStream", limits: Limits
) -> bytes:
    if not info.isreg() or info.issparse():
        raise _not_plain(info.name)
    if info.size > limits.file_bytes:
        raise _too_large(info.name, limits)
    stream.make_room(HEADER_BYTES + info.size)
    contents = tar.extractfile(info)
    assert contents is not None
    # A tar has no other record of the size, and a short read raises.
    with contents:
        return contents.read()


def _check_end(tar: tarfile.TarFile, stream: "_MeteredStream") -> None:
    """Read to the very end, so that checksums of the compression are compared."""
    rest = tar.fileobj
    assert rest is not None
    while piece := rest.read(BLOCK_BYTES):
        if piece.strip(b"\0"):
            raise refuse("the archive goes on after its end mark; upload a single tar archive")
        stream.make_room(BLOCK_BYTES)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _decompressed(file: IO[bytes]) -> _Readable:
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.open(file)
    if start.startswith(b"\xfd7zXZ\x00"):
        return lzma.open(file)
    if start.startswith(b"BZh"):
        return bz2.open(file)
    return file


class _MeteredStream(io.RawIOBase):
    """The decompressed tar, counted, of which only a stretch at a time may be read."""

    def __init__(self, source: _Readable, meter: Meter) -> None:
        self._source = source
        self._meter = meter
        self._room = 0

    def make_room(self, count: int) -> None:
        """Allow the next ``count`` bytes, and one block that tarfile reads ahead."""
        self._room = count + BLOCK_BYTES

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._meter.add_bytes(len(data))
        self._room -= len(data)
        if self._room < 0:
            raise self._meter.beyond(f"the archive has a header of more than {HEADER_BYTES} bytes")
        return data


class _BadHeader(Exception):
    """A tar header that cannot be read, or the archive ends where one should be."""

    def __str__(self) -> str:
        return "a tar header is missing or unreadable"


class _StrictHeader(tarfile.TarInfo):
    """A tar header; to tarfile a damaged one is just the end of the archive, to us an error."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) == tarfile.BLOCKSIZE and not buf.strip(b"\0"):
            return super().frombuf(buf, encoding, errors)  # raises what marks the end
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError:
            raise _BadHeader from None


def _read_bounded(stream: IO[bytes], name: str, limits: Limits, meter: Meter) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := stream.read(BLOCK_BYTES):
        meter.add_bytes(len(piece))
        size += len(piece)
        if size > limits.file_bytes:
            raise _too_large(name, limits)
        pieces.append(piece)
    return b"".join(pieces)


def _too_large(name: str, limits: Limits) -> ArchiveError:
    return refuse(f"entry {quote(name)} is larger than the {limits.file_bytes} bytes allowed")


def _not_plain(name: str) -> ArchiveError:
    return refuse(
        f"entry {quote(name)} is a link, a device or a sparse file; "
        "only plain files and folders are allowed"
    )
