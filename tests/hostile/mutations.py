"""Valid archives with something changed, as many as wanted, the same for the same seed.

A change to compressed bytes rarely survives a checksum, so half of the changes are made further in:
to the tar before it is compressed, or to an image before it is packed.
"""

import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.core.datasets.conftest import encode, random_pixels

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": lambda data: gzip.compress(data, 1, mtime=0),
    "tar.xz": lambda data: lzma.compress(data, preset=0),
    "tar.bz2": bz2.compress,
}
KINDS = ("zip", "zip stored", *COMPRESSIONS)
IMAGES = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
MARKS = (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"ustar", b"IHDR", b"\xff\xda", b"RIFF", b"\x1f\x8b")
"""What headers begin with; fields lie within some 50 bytes of it."""

Change = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Mutant:
    """A changed archive: of which kind, where it was changed, and how."""

    kind: str
    where: str
    change: str
    data: bytes


def mutants(seed: int) -> Iterator[Mutant]:
    """Changed archives without end."""
    rng = random.Random(seed)
    files = sound_files()
    while True:
        kind, change = rng.choice(KINDS), rng.choice(list(CHANGES))
        where = rng.choice(("archive", "inside"))
        yield Mutant(kind, where, change, _mutate(kind, where, CHANGES[change], files, rng))


def _mutate(
    kind: str, where: str, change: Change, files: dict[str, bytes], rng: random.Random
) -> bytes:
    if where == "archive":
        return change(pack(kind, files), rng)
    if kind in COMPRESSIONS and rng.random() < 0.5:
        return COMPRESSIONS[kind](change(pack("tar", files), rng))
    name = rng.choice(sorted(files))
    return pack(kind, files | {name: change(files[name], rng)})


def sound_files() -> dict[str, bytes]:
    """Two class folders with an image of every kind in each."""
    return {
        f"{label}/{number}.{image.lower()}": encode(random_pixels(number), image)
        for label in ("cat", "dog")
        for number, image in enumerate(IMAGES)
    }


def pack(kind: str, files: dict[str, bytes]) -> bytes:
    """An archive of one of ``KINDS``."""
    buffer = io.BytesIO()
    if kind in COMPRESSIONS:
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return COMPRESSIONS[kind](buffer.getvalue())
    method = zipfile.ZIP_STORED if kind == "zip stored" else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    """One to eight bits anywhere."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    """The end is missing, or the beginning."""
    at = rng.randrange(len(data))
    return data[:at] if rng.random() < 0.8 else data[at:]


def leave_out(data: bytes, rng: random.Random) -> bytes:
    """A piece in the middle is missing."""
    start, end = _stretch(data, rng)
    return data[:start] + data[end:]


def repeat(data: bytes, rng: random.Random) -> bytes:
    """A piece comes several times."""
    start, end = _stretch(data, rng)
    return data[:end] + data[start:end] * rng.randint(1, 20) + data[end:]


def splice(data: bytes, rng: random.Random) -> bytes:
    """A piece is replaced by one from elsewhere in it, of another length."""
    (start, end), (other, other_end) = _stretch(data, rng), _stretch(data, rng)
    return data[:start] + data[other:other_end] + data[end:]


def insert_noise(data: bytes, rng: random.Random) -> bytes:
    """Random bytes in the middle."""
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.randint(1, 600)) + data[at:]


def edit_a_field(data: bytes, rng: random.Random) -> bytes:
    """A number near the mark of a header becomes an extreme one."""
    found = [at for mark in MARKS for at in _all(data, mark)]
    at = (rng.choice(found) + rng.randint(0, 50)) if found else rng.randrange(len(data))
    width = rng.choice("BHL")
    order = rng.choice("<>")
    value = rng.choice(EXTREMES) & (256 ** struct.calcsize(width) - 1)
    return _overwrite(data, at, struct.pack(order + width, value))


def lie_about_a_tar_field(data: bytes, rng: random.Random) -> bytes:
    """A field of a tar header is rewritten, and the checksum made to fit."""
    heads = [at - 257 for at in _all(data, b"ustar") if at >= 257]
    if not heads:
        return edit_a_field(data, rng)
    at = rng.choice(heads)
    head = bytearray(data[at : at + 512].ljust(512, b"\0"))
    offset, length = rng.choice(((0, 100), (100, 8), (124, 12), (156, 1), (157, 100), (345, 155)))
    new = rng.choice((rng.randbytes(length), b"7" * length, b"\xff" * length, b"\0" * length))
    head[offset : offset + length] = new if rng.random() < 0.7 else b"SLKxgVNM0123456"[:length]
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    return _overwrite(data, at, bytes(head))


CHANGES: dict[str, Change] = {
    change.__name__.replace("_", " "): change
    for change in (
        flip_bits,
        cut,
        leave_out,
        repeat,
        splice,
        insert_noise,
        edit_a_field,
        lie_about_a_tar_field,
    )
}


def _stretch(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.randint(1, 2048))


def _all(data: bytes, mark: bytes) -> Iterator[int]:
    at = data.find(mark)
    while at >= 0:
        yield at
        at = data.find(mark, at + 1)


def _overwrite(data: bytes, at: int, new: bytes) -> bytes:
    return (data[:at] + new + data[at + len(new) :])[: max(len(data), 1)]
