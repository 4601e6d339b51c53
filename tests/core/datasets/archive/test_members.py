import gzip
import io
import stat
import tarfile
import zipfile

import pytest

from dcpi_core.datasets.archive.limits import Limits
from dcpi_core.datasets.archive.members import members
from dcpi_core.spec.errors import ArchiveError

KINDS = ["zip", "tar", "tar.gz", "tar.xz", "tar.bz2"]
FILES = {"a/1.png": b"one", "a/2.png": b"", "b/3.png": bytes(range(256)) * 3000}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "upload"


def contents(path, **limits):
    return {member.name: member.data for member in members(path, Limits(**limits))}


def refusal(path, **limits):
    with pytest.raises(ArchiveError) as caught:
        contents(path, **limits)
    assert [problem.pointer for problem in caught.value.problems] == ["/file"]
    return caught.value.detail


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def test_reads_what_was_written(self, make, path, kind):
        assert contents(make.archive(path, kind, FILES)) == FILES

    def test_truncated(self, make, path, kind):
        data = make.archive(path, kind, FILES).read_bytes()
        for length in (len(data) // 3, len(data) // 2, len(data) - len(data) // 8):
            path.write_bytes(data[:length])
            assert "damaged" in refusal(path)

    def test_damage_is_said_of_an_entry(self, make, path, kind):
        """Half of the last file is missing, or its directory at the end is."""
        data = make.archive(path, kind, FILES).read_bytes()
        path.write_bytes(data[: len(data) // 2])
        places = ("at entry 'b/3.png'", "after entry", "before its first entry")
        assert any(place in refusal(path) for place in places)

    def test_unsafe_names(self, make, path, kind):
        for name in ("../x.png", "/x.png", "a\\x.png", "C:/x.png"):
            assert repr(name) in refusal(make.archive(path, kind, {name: b""}))

    def test_too_many_entries(self, make, path, kind):
        make.archive(path, kind, FILES)
        assert "more than 2 entries" in refusal(path, entries=2)

    def test_too_large_a_file(self, make, path, kind):
        make.archive(path, kind, FILES)
        assert "'b/3.png' is larger than the 100000 bytes allowed" in refusal(
            path, file_bytes=100_000
        )

    def test_too_many_bytes(self, make, path, kind):
        make.archive(path, kind, FILES)
        assert "unpacks to more than 200000 bytes" in refusal(path, total_bytes=200_000)


# A plain tar has no checksum over its data, and does not compress.
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"tar"}))
def test_one_changed_byte_of_compressed_data(make, path, kind):
    data = bytearray(make.archive(path, kind, FILES).read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"tar"}))
def test_ratio(make, path, kind):
    make.archive(path, kind, {"a/1.png": bytes(3_000_000)})
    assert len(contents(path)["a/1.png"]) == 3_000_000
    detail = refusal(path, ratio=10, ratio_from_bytes=1_000_000)
    assert "more than 10 times its own size" in detail


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\x89PNG\r\n\x1a\n" + bytes(600),
        b"7z\xbc\xaf\x27\x1c" + b"x" * 600,
        b"P" * 512,
    ],
)
def test_no_archive(path, data):
    path.write_bytes(data)
    assert "not an archive, or damaged; allowed are zip, tar" in refusal(path)


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x1f\x8b\x08", b"\xfd7zXZ\x00", b"BZh9"])
def test_only_the_first_bytes_of_an_archive(path, start):
    path.write_bytes(start + b"nonsense" * 100)
    assert "damaged" in refusal(path)


def test_compressed_but_no_tar(path):
    path.write_bytes(gzip.compress(b"a letter to a friend" * 100))
    assert "not an archive" in refusal(path)


def test_empty_archives_have_no_members(make, path):
    assert contents(make.zip(path, [])) == {}
    assert contents(make.tar(path, [])) == {}


# ---- tar


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
        b"V",
    ],
)
def test_tar_entries_that_are_no_plain_files(make, path, kind):
    make.tar(path, [make.tar_entry("a/1.png", type=kind, linkname="../../etc/passwd")])
    assert "'a/1.png' is a link, a device or a sparse file" in refusal(path)


def test_pax_sparse_file(make, path):
    sparse = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "99999999999"}
    make.tar(path, [make.tar_entry("a/1.png", b"x", pax_headers=sparse)])
    assert "sparse" in refusal(path)


def test_tar_folders_and_root_entry(make, path):
    folders = [make.tar_entry(name, type=tarfile.DIRTYPE) for name in ("./", "./a")]
    make.tar(path, [*folders, ("./a/1.png", b"x")])
    assert contents(path) == {"a": None, "a/1.png": b"x"}


def test_long_tar_names(make, path):
    name = "train/" + "k" * 300 + "/1.png"
    assert contents(make.tar(path, [(name, b"x")])) == {name: b"x"}
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        info, data = make.tar_entry(name, b"x")
        archive.addfile(info, io.BytesIO(data))
    assert contents(path) == {name: b"x"}


def test_names_hidden_in_pax_headers(make, path):
    make.tar(path, [make.tar_entry("a/1.png", b"x", pax_headers={"path": "../../evil.png"})])
    assert "'../../evil.png' climbs out" in refusal(path)
    make.tar(path, [make.tar_entry("a/1.png", b"x", pax_headers={"path": "a/1.png\0.exe"})])
    assert "control characters" in refusal(path)


def test_tar_names_that_are_not_utf8(make, path):
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        info, data = make.tar_entry("a/\xe9.png", b"x")
        archive.addfile(info, io.BytesIO(data))
    assert "not UTF-8" in refusal(path)


def test_gigantic_tar_header(make, path):
    make.tar(path, [make.tar_entry("a/1.png", b"x", pax_headers={"comment": "x" * (2 << 20)})])
    assert "header of more than 1048576 bytes" in refusal(path)


def test_size_that_the_tar_does_not_hold(make, path):
    info, data = make.tar_entry("a/1.png", b"x")
    data = info.tobuf() + data
    info.size = 1 << 40
    path.write_bytes(info.tobuf() + bytes(10_240))
    assert "larger than" in refusal(path)
    info.size = 1 << 20
    path.write_bytes(info.tobuf() + bytes(10_240))
    assert "damaged" in refusal(path)


def test_broken_header_amid_good_ones(make, path):
    """tarfile itself would take it for the end of the archive and lose the rest."""
    data = bytearray(make.tar(path, FILES.items()).read_bytes())
    data[1024 + 5] ^= 1  # the second header
    path.write_bytes(data)
    assert "a tar header is missing or unreadable" in refusal(path)


def test_tar_cut_between_two_entries(make, path):
    data = make.tar(path, FILES.items()).read_bytes()
    path.write_bytes(data[:1024])
    assert "a tar header is missing" in refusal(path)


def test_two_tars_in_one_file(make, path):
    data = make.tar(path, FILES.items()).read_bytes()
    path.write_bytes(data + data)
    assert "goes on after its end mark" in refusal(path)


def test_zeros_without_end_after_a_tar(make, path):
    data = make.tar(path, FILES.items()).read_bytes()
    path.write_bytes(gzip.compress(data + bytes(5_000_000)))
    assert contents(path) == FILES
    assert "unpacks to more than" in refusal(path, total_bytes=2_000_000)


# ---- zip


def test_zip_folders(make, path):
    make.zip(path, [("a/", b""), ("a/1.png", b"x")])
    assert contents(path) == {"a": None, "a/1.png": b"x"}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_zip_entries_that_are_no_plain_files(make, path, kind):
    info = zipfile.ZipInfo("a/1.png")
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    make.zip(path, [(info, b"../../etc/passwd")])
    assert "'a/1.png' is a link, a device" in refusal(path)


def test_encrypted_zip(make, path):
    data = bytearray(make.zip(path, [("a/1.png", b"x")]).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert "'a/1.png' is encrypted" in refusal(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_methods_without_bounds(make, path, method):
    make.zip(path, [("a/1.png", b"x" * 100)], method)
    assert "must be stored or deflated" in refusal(path)


def test_nul_in_a_zip_name(make, path):
    """zipfile would cut it and show a/1.png."""
    data = make.zip(path, [("a/1.png#.exe", b"x")]).read_bytes()
    path.write_bytes(data.replace(b"png#", b"png\0"))
    assert "control characters" in refusal(path)


def test_zip_that_lies_about_a_size(make, path):
    data = bytearray(make.zip(path, [("a/1.png", bytes(1_000_000))]).read_bytes())
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = (10).to_bytes(4, "little")
    path.write_bytes(data)
    assert "damaged" in refusal(path)


def test_zip_with_overlapping_entries(make, path):
    data = bytearray(make.zip(path, [("a/1.png", b"x"), ("a/2.png", b"y")]).read_bytes())
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = bytes(4)
    path.write_bytes(data)
    assert "damaged" in refusal(path)
