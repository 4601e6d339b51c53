"""Archives that are small and would become large, or many, or nested without end."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib

from tests.hostile.raw import (
    MEGABYTE,
    ZipEntry,
    deflated_zeros,
    stored,
    tar_header,
    tar_of,
    xz_with_dictionary,
    zip_of,
)

IMAGE = "train/cat/0.png"


def one_gigabyte_in_a_zip() -> bytes:
    """A single entry of a gigabyte of zeros, packed 1000 : 1."""
    data = deflated_zeros(1024)
    return zip_of([ZipEntry(IMAGE.encode(), data, 8, size=1024 * MEGABYTE)])


def many_large_entries() -> bytes:
    """No entry is too large, all of them together are."""
    megabytes = 60
    crc = zlib.crc32(bytes(megabytes * MEGABYTE))
    data = deflated_zeros(megabytes)
    size = megabytes * MEGABYTE
    names = [f"train/cat/{number}.png".encode() for number in range(20)]
    return zip_of(ZipEntry(name, data, 8, crc, size) for name in names)


def zip_that_hides_its_size() -> bytes:
    """The headers speak of ten bytes."""
    return zip_of([ZipEntry(IMAGE.encode(), deflated_zeros(1024), 8, size=10)])


def zip_of_a_claimed_exabyte() -> bytes:
    """An end record that tells of a directory longer than any disk."""
    whole = bytearray(zip_of([stored(IMAGE, b"x")]))
    at = whole.rindex(b"PK\5\6")
    whole[at + 8 : at + 12] = b"\xff\xff\xff\xff"
    whole[at + 12 : at + 20] = struct.pack("<LL", 0xFFFFFFFE, 0)
    return bytes(whole)


def overlapping_entries() -> bytes:
    """Every entry is the next one's header and data, quoted: a hundred files from one kernel.

    Construction: D. Fifield, "A better zip bomb", WOOT 2019.
    """
    content = bytes(MEGABYTE)
    entry = ZipEntry(b"train/cat/000.png", deflated_zeros(1), 8, zlib.crc32(content), MEGABYTE)
    entries, body = [entry], entry.local()
    for number in range(1, 100):
        header = entry.local()[: 30 + len(entry.name)]
        # A stored block that is not the last one: its length, the complement of that, the header.
        block = struct.pack("<BHH", 0, len(header), len(header) ^ 0xFFFF)
        content = header + content
        data = block + header + entry.data
        name = f"train/cat/{number:03}.png".encode()
        entry = ZipEntry(name, data, 8, zlib.crc32(content), len(content))
        entries.append(entry)
        body = entry.local()[: 30 + len(entry.name)] + block + body
    return _with_directory(body, entries[::-1])


def _with_directory(body: bytes, entries: list[ZipEntry]) -> bytes:
    lines, offset = b"", 0
    for entry in entries:
        lines += entry.central(offset)
        # The next header lies five bytes into this entry's data.
        offset += 30 + len(entry.name) + 5
    count = len(entries)
    return (
        body
        + lines
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(lines), len(body), 0)
    )


def one_kernel_listed_often() -> bytes:
    """A directory in which a hundred lines point to the same bytes."""
    entry = ZipEntry(IMAGE.encode(), deflated_zeros(60), 8, size=60 * MEGABYTE)
    return _lines_to(entry, 100)


def _lines_to(entry: ZipEntry, count: int) -> bytes:
    body, lines = entry.local(), entry.central(0) * count
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(lines), len(body), 0)
    return body + lines + end


def zip_in_a_zip() -> bytes:
    """An archive as an entry."""
    return zip_of([stored("train/cat/inner.zip", one_gigabyte_in_a_zip())])


def zip_posing_as_an_image_in_a_zip() -> bytes:
    """The same under the name of an image."""
    return zip_of([stored(IMAGE, one_gigabyte_in_a_zip())])


def forty_two() -> bytes:
    """Archives in archives, five deep, sixteen wide: 42.zip in small."""
    inner = one_gigabyte_in_a_zip()
    for _ in range(5):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(16):
                archive.writestr(f"lib/{number}.zip", inner)
        inner = buffer.getvalue()
    return inner


def zeros_in_gz() -> bytes:
    """A gigabyte of zeros as gzip members in a row."""
    return gzip.compress(bytes(16 * MEGABYTE), mtime=0) * 64


def zeros_in_xz() -> bytes:
    """The same as xz streams."""
    return lzma.compress(bytes(16 * MEGABYTE), preset=0) * 64


def zeros_in_bz2() -> bytes:
    """The same as bzip2 streams, at a million to one."""
    return bz2.compress(bytes(16 * MEGABYTE)) * 64


def entries_of_zeros_in_gz() -> bytes:
    """Entries of 16 MB each, in a gzip file of gzip members."""
    megabytes = 16
    zeros = gzip.compress(bytes(megabytes * MEGABYTE), mtime=0)
    heads = [tar_header(f"train/cat/{number}.png", megabytes * MEGABYTE) for number in range(40)]
    return b"".join(gzip.compress(head, mtime=0) + zeros for head in heads)


def entries_of_zeros_in_xz() -> bytes:
    """The same in xz."""
    megabytes = 16
    zeros = lzma.compress(bytes(megabytes * MEGABYTE), preset=0)
    heads = [tar_header(f"train/cat/{number}.png", megabytes * MEGABYTE) for number in range(40)]
    return b"".join(lzma.compress(head, preset=0) + zeros for head in heads)


def one_large_entry_in_gz() -> bytes:
    """An entry of a gigabyte."""
    head = gzip.compress(tar_header(IMAGE, 1024 * MEGABYTE), mtime=0)
    return head + gzip.compress(bytes(16 * MEGABYTE), mtime=0) * 64


def gz_in_gz() -> bytes:
    """Compressed twice: what comes out is no tar."""
    return gzip.compress(zeros_in_gz())


def tar_gz_in_a_tar() -> bytes:
    """An archive as an entry, under the name of an image."""
    return tar_of([tar_header(IMAGE, len(inner := entries_of_zeros_in_gz())), inner])


def xz_with_a_dictionary_of_4_gigabytes() -> bytes:
    """A kilobyte whose decoder wants four gigabytes at once."""
    return xz_with_dictionary(tar_of([tar_header(IMAGE, 1), b"x"]), 40)


def tar_of_a_claimed_exabyte() -> bytes:
    """A size that needs the binary form of the field."""
    return tar_of([tar_header(IMAGE, 1 << 60), b"x"])


def tar_with_a_negative_size() -> bytes:
    """A reader that adds sizes to offsets would go backwards for ever."""
    return tar_of([tar_header(IMAGE, -1024), b"x", tar_header("train/cat/1.png", 1), b"x"])


def tar_with_an_endless_long_name() -> bytes:
    """A name of a claimed gigabyte, which a reader would hold in memory."""
    head = tar_header("././@LongLink", 1 << 30, type=tarfile.GNUTYPE_LONGNAME)
    return gzip.compress(head, mtime=0) + gzip.compress(b"a" * (16 * MEGABYTE), mtime=0) * 64


def tar_with_names_of_names() -> bytes:
    """Ten thousand headers that each name the next: a recursive reader runs out of stack."""
    head = tar_header("././@LongLink", 2, type=tarfile.GNUTYPE_LONGNAME)
    return tar_of([piece for _ in range(10_000) for piece in (head, b"a\0")])


def tar_with_a_pax_size_of_zero_length() -> bytes:
    """Records of length zero, at which a reader may stay for ever (CVE-2019-20907)."""
    records = b"0 path=x\n"
    return tar_of(
        [tar_header("pax", len(records), type=tarfile.XHDTYPE), records, tar_header(IMAGE, 1), b"x"]
    )


def tar_with_a_sparse_terabyte() -> bytes:
    """A file with holes: a terabyte to whoever unpacks it, a header to us."""
    records = b"".join(
        _record(key, value)
        for key, value in (("GNU.sparse.major", "1"), ("GNU.sparse.size", str(1 << 40)))
    )
    return tar_of(
        [
            tar_header("pax", len(records), type=tarfile.XHDTYPE),
            records,
            tar_header(IMAGE, 512),
            b"0\n",
        ]
    )


def _record(key: str, value: str) -> bytes:
    text = f" {key}={value}\n"
    length = len(text) + len(str(len(text) + 2))
    return f"{length}{text}".encode()


def empty_files_in_a_zip(count: int) -> bytes:
    """So many entries without a byte in them."""
    return zip_of(stored(f"train/cat/{number}.png") for number in range(count))


def empty_notes_in_a_zip(count: int) -> bytes:
    """The same, as files that a reader passes over instead of complaining early."""
    return zip_of(stored(f"{number}.txt") for number in range(count))


def empty_notes_in_a_tar_gz(count: int) -> bytes:
    """The same as a tar, packed 100 : 1."""
    packer = gzip.compress
    step = 10_000
    members = [
        packer(b"".join(tar_header(f"{n}.txt", 0) for n in range(at, min(at + step, count))), 1)
        for at in range(0, count, step)
    ]
    return b"".join(members) + packer(bytes(1024))
