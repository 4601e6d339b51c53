"""Hostile archives against the real reader, in a child with the limits that the service sets."""

import re
import signal
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.hostile import bombs, names, pictures
from tests.hostile.reader import Reader, Reading, open_reader

MEMORY_MB = 2048
"""What the service allows; nothing here should come near it."""
USUAL_MB = 300
SECONDS = 5

DAMAGED = r"the archive is damaged (before its first|at|after) entry"
CLIMBS = (
    "climbs out",
    "is an absolute path",
    "has a backslash",
    "has control characters",
    "is longer than",
    "comes twice",
)
BAD = r"entry 'train/cat/bad\.\w+' "

BOMBS: dict[Callable[[], bytes], str] = {
    bombs.one_gigabyte_in_a_zip: "entry 'train/cat/0.png' is larger than the 67108864 bytes",
    bombs.many_large_entries: r"more than 200 times its own size.* at entry 'train/cat/\d+.png'",
    bombs.zip_that_hides_its_size: "at entry 'train/cat/0.png'",
    bombs.zip_of_a_claimed_exabyte: DAMAGED,
    bombs.overlapping_entries: r"(200 times its own size.*|damaged) at entry 'train/cat/\d+.png'",
    bombs.one_kernel_listed_often: "entry 'train/cat/0.png'",
    bombs.zip_in_a_zip: "entry 'train/cat/inner.zip' is not an image",
    bombs.zip_posing_as_an_image_in_a_zip: "entry 'train/cat/0.png' is not a PNG",
    bombs.forty_two: "entry 'lib/0.zip' is not an image",
    bombs.zeros_in_gz: "unpacks to more than .* before its first entry",
    bombs.zeros_in_xz: "unpacks to more than .* before its first entry",
    bombs.zeros_in_bz2: "unpacks to more than .* before its first entry",
    bombs.entries_of_zeros_in_gz: r"more than 200 times .* at entry 'train/cat/\d+.png'",
    bombs.entries_of_zeros_in_xz: r"more than 200 times .* at entry 'train/cat/\d+.png'",
    bombs.one_large_entry_in_gz: "entry 'train/cat/0.png' is larger than",
    bombs.gz_in_gz: "not an archive",
    bombs.tar_gz_in_a_tar: "entry 'train/cat/0.png' is not a PNG",
    bombs.xz_with_a_dictionary_of_4_gigabytes: "more than the 2048 MB allowed, before its first",
    bombs.tar_of_a_claimed_exabyte: "entry 'train/cat/0.png' is larger than",
    bombs.tar_with_a_negative_size: "entry",
    bombs.tar_with_an_endless_long_name: "header of more than 1048576 bytes",
    bombs.tar_with_names_of_names: "entry",
    bombs.tar_with_a_pax_size_of_zero_length: DAMAGED,
    bombs.tar_with_a_sparse_terabyte: "entry 'train/cat/0.png' is a link, a device or a sparse",
    partial(bombs.empty_files_in_a_zip, 30_000): r"entry 'train/cat/\d+.png' is not a PNG",
    partial(bombs.empty_notes_in_a_zip, 10_000): "no images",
    partial(bombs.empty_notes_in_a_tar_gz, 10_000): "no images",
}
LINKS: dict[Callable[[], bytes], str] = {
    names.symlink_in_a_zip: "entry 'train/cat/0.png' is a link",
    names.write_through_a_symlink: "entry 'train' is a link",
    names.hard_link: "entry 'train/cat/0.png' is a link",
    names.device: "entry 'train/cat/0.png' is a link, a device",
    names.pipe: "entry 'train/cat/0.png' is a link, a device",
    names.another_name_in_front: "damaged at entry 'train/cat/0.png'",
    names.encrypted: "entry 'train/cat/0.png' is encrypted",
    names.method_of_another_century: "entry 'train/cat/0.png' is compressed with zip method 6",
    names.one_name_twice: "entry 'train/cat/0.png' comes twice",
}
PICTURES: dict[Callable[[], bytes], str] = {
    pictures.huge_png: BAD + ".*4294836225 pixels",
    pictures.huge_jpeg: BAD + ".*4294836225 pixels",
    pictures.huge_gif: BAD + ".*4294836225 pixels",
    pictures.gif_frame_beyond_its_screen: BAD + ".*4294836225 pixels",
    pictures.huge_bmp: BAD + ".*4294836225 pixels",
    pictures.huge_webp: BAD,
    pictures.zero_pixels: BAD,
    pictures.zip_bomb_in_a_png_profile: BAD,
    pictures.zip_bomb_in_a_png_text: BAD,
    **{partial(pictures.truncated, kind): BAD + "cannot be decoded" for kind in pictures.KINDS},
    pictures.png_without_its_end: BAD + "cannot be decoded",
    pictures.html_as_png: BAD + "is not a PNG",
    pictures.svg_as_png: BAD + "is not a PNG",
    pictures.postscript_as_png: BAD + "is not a PNG",
    pictures.tiff_as_png: BAD + "is not a PNG",
    pictures.zip_in_front_of_a_png: BAD + "is not a PNG",
    pictures.pickle_as_png: BAD + "is not a PNG",
    pictures.pickle: BAD + "is not an image",
    pictures.png_with_a_false_checksum: BAD + "cannot be decoded",
    pictures.png_with_too_few_pixels: BAD,
    partial(pictures.jpeg_of_many_scans, 5000): BAD + "has more than the 500 scans allowed",
}


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with open_reader() as found:
        yield found


@pytest.fixture
def read(reader, tmp_path) -> Callable[..., Reading]:
    """Read an archive; whatever it is, nothing may be touched outside and nothing left over."""

    def run(content: bytes, seconds: int = SECONDS) -> Reading:
        archive = tmp_path / "archive"
        archive.write_bytes(content)
        limits = (f"--max-memory-mb={MEMORY_MB}", f"--max-seconds={seconds}")
        found = reader.read(archive, tmp_path / "work", *limits, "--image-size=8")
        assert found.strays == []
        assert found.left == []
        assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "work"]
        assert found.accepted == (tmp_path / "work" / "out").exists()
        return found

    return run


def title(case: object) -> str:
    if isinstance(case, partial):
        return "-".join([case.func.__name__, *map(str, case.args)])
    return getattr(case, "__name__", str(case))


@pytest.mark.parametrize("build", [*BOMBS, *LINKS, *PICTURES], ids=title)
def test_refused_cheaply_and_by_name(build, read):
    found = read(build())
    assert re.search((BOMBS | LINKS | PICTURES)[build], found.refusal), found
    assert found.peak_mb < USUAL_MB


@pytest.mark.parametrize("form", [names.climbing_zip, names.climbing_tar, names.climbing_pax])
@pytest.mark.parametrize("spelling", names.TRAVERSALS)
def test_names_that_climb_are_refused(form, spelling, read):
    """To tar a NUL ends a long name, so that one is a file of the same name again."""
    found = read(form(names.TRAVERSALS[spelling]))
    assert re.match("entry ['\"].* (" + "|".join(CLIMBS) + ")", found.refusal), found
    assert found.refusal.isprintable()


def test_a_decoder_that_does_not_come_back_is_ended_and_its_entry_known(reader, tmp_path):
    """No signal reaches Python while libjpeg works; the kernel's hard limit does."""
    archive = tmp_path / "archive"
    archive.write_bytes(pictures.jpeg_of_many_scans(500))
    found = reader.read(archive, tmp_path / "work", "--max-seconds=1", "--image-size=8")
    assert found.status == -signal.SIGKILL
    assert found.place == "at entry 'train/cat/bad.jpg'"
    assert found.strays == []


PAYLOAD = b"PK\3\4<script>alert('evil')</script>"


@pytest.mark.parametrize(
    "content",
    [
        *(pictures.image_with_a_payload(kind, PAYLOAD) for kind in pictures.KINDS),
        pictures.image_with_a_text_payload(PAYLOAD),
    ],
    ids=[*pictures.KINDS, "in a comment"],
)
def test_of_a_polyglot_only_the_pixels_are_kept(content, read, tmp_path):
    """Cameras append to their images too, so these are taken; what is stored was decoded anew."""
    assert read(content).accepted
    assert b"evil" in content.replace(b"\0", b"") or b"zTXt" in content
    assert b"evil" not in (tmp_path / "work" / "out").read_bytes()


def test_the_reader_sees_what_is_accepted(read):
    """The twin of all above: the same child takes a sound archive."""
    found = read(names.zip_of(names.stored(*item) for item in names.class_folders().items()))
    assert found.accepted
    assert found.answer["facts"]["classes"] == ["cat", "dog"]
