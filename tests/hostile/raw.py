"""Archives and images written by hand, byte by byte, so that any of their fields may lie."""

import io
import lzma
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class ZipEntry:
    """One entry: its data as it lies in the archive, and what the two headers say of it."""

    name: bytes
    data: bytes = b""
    method: int = 0
    crc: int = 0
    size: int = 0
    attributes: int = 0
    flags: int = 0x800  # names are UTF-8

    def local(self) -> bytes:
        """Header and data, in front of the directory."""
        fields = (20, self.flags, self.method, 0, 33, self.crc, len(self.data), self.size)
        head = struct.pack("<4s5H3L2H", b"PK\3\4", *fields, len(self.name), 0)
        return head + self.name + self.data

    def central(self, offset: int) -> bytes:
        """The entry's line in the directory at the end."""
        fields = (0x314, 20, self.flags, self.method, 0, 33, self.crc, len(self.data), self.size)
        rest = (len(self.name), 0, 0, 0, 0, self.attributes, offset)
        return struct.pack("<4s6H3L5H2L", b"PK\1\2", *fields, *rest) + self.name


def stored(name: str | bytes, data: bytes = b"", **fields: int) -> ZipEntry:
    """An entry without compression."""
    name = name if isinstance(name, bytes) else name.encode()
    return replace(ZipEntry(name, data, 0, zlib.crc32(data), len(data)), **fields)


def zip_end(count: int, size: int, offset: int) -> bytes:
    """The end record, in the form for many entries where it takes that."""
    short = struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, min(count, 0xFFFF), min(count, 0xFFFF), size, offset, 0
    )
    if count < 0xFFFF:
        return short
    long = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    return long + struct.pack("<4sLQL", b"PK\6\7", 0, offset + size, 1) + short


def zip_of(entries: Iterable[ZipEntry]) -> bytes:
    """A whole archive."""
    body, directory, count = io.BytesIO(), io.BytesIO(), 0
    for entry in entries:
        directory.write(entry.central(body.tell()))
        body.write(entry.local())
        count += 1
    lines = directory.getvalue()
    return body.getvalue() + lines + zip_end(count, len(lines), body.tell())


def deflated_zeros(megabytes: int) -> bytes:
    """A deflate stream of so many megabytes of zeros, in the time for one of them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packer.compress(b"")
    block = packer.compress(bytes(MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * megabytes + packer.flush()


def tar_header(name: str, size: int, **fields: object) -> bytes:
    """A header whose size need not be true."""
    info = tarfile.TarInfo(name)
    info.size = size
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def tar_of(pieces: Iterable[bytes]) -> bytes:
    """Headers and data, each filled up to whole blocks, and the end mark."""
    return b"".join(piece + bytes(-len(piece) % 512) for piece in pieces) + bytes(1024)


def xz_with_dictionary(data: bytes, code: int) -> bytes:
    """An xz file that asks its reader for a dictionary of another size: code 40 is 4 GiB."""
    packed = bytearray(lzma.compress(data, preset=0))
    length = (packed[12] + 1) * 4  # the block's header follows the 12 bytes of the stream's
    packed[12 + 4] = code
    packed[12 + length - 4 : 12 + length] = struct.pack("<L", zlib.crc32(packed[12 : 8 + length]))
    return bytes(packed)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Length, kind, data and a true checksum."""
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png_of(width: int, height: int, extra: bytes = b"", pixels: bytes = b"\0") -> bytes:
    """A PNG that says this of its size, whatever its pixels are."""
    head = png_chunk(b"IHDR", struct.pack(">2L5B", width, height, 8, 0, 0, 0, 0))
    data = png_chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + head + extra + data + png_chunk(b"IEND", b"")


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and offset of each segment up to the first scan of a JPEG."""
    at = 2
    while data[at + 1] != 0xDA:
        yield data[at + 1], at
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    yield 0xDA, at
