"""Names that climb out, in every spelling, and entries that are no files."""

import stat
import tarfile

from tests.core.datasets.conftest import class_folders
from tests.hostile.raw import ZipEntry, stored, tar_header, tar_of, zip_of

TRAVERSALS = {
    "plain": b"../../evil.png",
    "in the middle": b"train/cat/../../../evil.png",
    "absolute": b"/tmp/evil.png",
    "two slashes": b"//server/share/evil.png",
    "backslashes": b"..\\..\\evil.png",
    "a drive": b"C:/evil.png",
    "a drive's own folder": b"C:evil.png",
    "percent": b"train/%2e%2e/%2e%2e/evil.png",
    "percent slash": b"train/..%2f..%2fevil.png",
    "percent backslash": b"train/..%5c..%5cevil.png",
    "percent twice": b"train/%252e%252e%252fevil.png",
    "overlong UTF-8": b"train/\xc0\xae\xc0\xae/evil.png",
    "half of UTF-16": b"train/\xed\xa0\x80/evil.png",
    "full width": "train/\uff0e\uff0e\uff0fevil.png".encode(),
    "full width slash": "train/..\uff0f..\uff0fevil.png".encode(),
    "two dot leader": "train/\u2025/evil.png".encode(),
    "a NUL": b"train/cat/0.png\0/../../evil.png",
    "a line end": b"train/cat/0.png\n../../evil.png",
    "text from right to left": "train/cat/\u202egnp.exe".encode(),
    "too long": b"train/" + b"a" * 5000 + b".png",
}
"""As bytes, since some are no text in any encoding."""


def climbing_zip(name: bytes) -> bytes:
    """Good images, and one with this name."""
    good = [stored(path, data) for path, data in class_folders().items()]
    return zip_of([*good, stored(name, b"x")])


def climbing_tar(name: bytes) -> bytes:
    """The same as a tar, the name in a long-name header, where it may have any length."""
    head = tar_header("././@LongLink", len(name) + 1, type=tarfile.GNUTYPE_LONGNAME)
    return tar_of([*_good(), head, name + b"\0", tar_header("short", 1), b"x"])


def climbing_pax(name: bytes) -> bytes:
    """The same in a pax header, behind a harmless name."""
    text = b" path=" + name + b"\n"
    length = len(text) + len(str(len(text) + 3))
    records = str(length).encode() + text
    head = tar_header("pax", len(records), type=tarfile.XHDTYPE)
    return tar_of([*_good(), head, records, tar_header("train/cat/9.png", 1), b"x"])


def symlink_in_a_zip() -> bytes:
    """A link to a file of the machine."""
    link = (stat.S_IFLNK | 0o777) << 16
    return zip_of([stored("train/cat/0.png", b"/etc/passwd", attributes=link)])


def write_through_a_symlink() -> bytes:
    """A link to a folder outside, and a file that goes through it."""
    link = tar_header("train", 0, type=tarfile.SYMTYPE, linkname="/tmp")
    return tar_of([link, tar_header("train/evil.png", 1), b"x"])


def hard_link() -> bytes:
    """Another name for a file of the machine."""
    return tar_of([tar_header("train/cat/0.png", 0, type=tarfile.LNKTYPE, linkname="/etc/passwd")])


def device() -> bytes:
    """A file that never ends: /dev/zero."""
    return tar_of([tar_header("train/cat/0.png", 0, type=tarfile.CHRTYPE, devmajor=1, devminor=5)])


def pipe() -> bytes:
    """A file at which a reader waits for ever."""
    return tar_of([tar_header("train/cat/0.png", 0, type=tarfile.FIFOTYPE)])


def another_name_in_front() -> bytes:
    """The directory says one name, the entry itself another."""
    entry, other = stored("train/cat/0.png", b"x"), stored("../../evil.png", b"x")
    whole = zip_of([entry])
    return whole.replace(entry.local(), other.local()[: len(entry.local())])


def encrypted() -> bytes:
    """An entry that nobody can read."""
    return zip_of([stored("train/cat/0.png", b"x" * 20, flags=0x801)])


def method_of_another_century() -> bytes:
    """A compression that zipfile does not know."""
    return zip_of([ZipEntry(b"train/cat/0.png", b"x", 6, size=1)])


def one_name_twice() -> bytes:
    """Which of the two would be checked, and which used?"""
    return zip_of([stored(path, data) for path, data in [*class_folders().items()] * 2])


def _good() -> list[bytes]:
    return [
        piece
        for path, data in class_folders().items()
        for piece in (tar_header(path, len(data)), data)
    ]
