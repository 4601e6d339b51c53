import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dcpi_core.datasets.archive.names import is_image, is_leftover, is_text, split_name
from dcpi_core.spec.errors import ArchiveError

UNSAFE = [
    "../x.png",
    "a/../../x.png",
    "a/..",
    "..",
    "/etc/passwd",
    "//server/share/x.png",
    "C:/x.png",
    "c:x.png",
    "..\\x.png",
    "a\\b.png",
    "\\\\server\\x.png",
    "a/\0b.png",
    "a/b\n.png",
    "a/\x7f.png",
    "a/\udcff.png",
    "a/\u202egnp.exe",
    "a" * 1025,
]


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_names_are_refused(name):
    with pytest.raises(ArchiveError, match="relative paths") as caught:
        split_name(name)
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 500


@given(st.text(max_size=60))
@example("a/./b//c")
@example("./")
def test_accepted_names_stay_below_the_root(name):
    try:
        parts = split_name(name)
    except ArchiveError:
        return
    assert not {"", ".", ".."} & set(parts)
    assert not any(set(part) & set("/\\\0\n") for part in parts)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("./train/cat/1.png", ("train", "cat", "1.png")),
        ("train//cat/", ("train", "cat")),
        ("./", ()),
        ("猫/写真\u3000一.png", ("猫", "写真\u3000一.png")),
        ("a/..b/c...png", ("a", "..b", "c...png")),
        ("a/Screenshot 9\u202fPM.png", ("a", "Screenshot 9\u202fPM.png")),
    ],
)
def test_ordinary_names(name, parts):
    assert split_name(name) == parts


@pytest.mark.parametrize(
    ("name", "leftover", "text", "image"),
    [
        ("__MACOSX/train/cat/._1.png", True, False, True),
        ("train/cat/._1.png", True, False, True),
        ("train/cat/.DS_Store", True, False, False),
        ("Thumbs.db", True, False, False),
        ("README", False, True, False),
        ("license", False, True, False),
        ("notes.MD", False, True, False),
        ("a/1.JPeG", False, False, True),
        ("a/1.webp", False, False, True),
        ("a/1.svg", False, False, False),
        ("a/1.tiff", False, False, False),
        ("a/evil.py", False, False, False),
    ],
)
def test_kinds(name, leftover, text, image):
    parts = tuple(name.split("/"))
    assert (is_leftover(parts), is_text(parts), is_image(parts)) == (leftover, text, image)
