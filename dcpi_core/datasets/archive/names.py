"""Names inside an archive: refused when they climb out or deceive, sorted by what they are for."""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import unquote

from dcpi_core.datasets.archive.refusal import quote, refuse

LEFTOVERS = frozenset({".DS_Store", ".directory", ".gitkeep", "Thumbs.db", "desktop.ini"})
"""Files that operating systems and tools leave in folders."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")

MAX_LENGTH = 1024

_DRIVE = re.compile(r"[A-Za-z]:")
_TEXTS = frozenset({"README", "LICENSE", "LICENCE"})
# Control characters, line separators, switches of text direction, and bytes that are not UTF-8.
_UNREADABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

Parts = tuple[str, ...]


def split_name(raw: str) -> Parts:
    """The components of an entry's name, without ``.``; empty for the root folder itself.

    Raises:
        ArchiveError: the name is not a plain relative path in readable characters.
    """
    problem = _problem(raw)
    if problem:
        raise refuse(
            f"entry {quote(raw)} {problem}; names must be relative paths such as 'train/cat/1.png'"
        )
    return tuple(part for part in raw.split("/") if part not in ("", "."))


def is_leftover(parts: Parts) -> bool:
    """Whether the entry is one that nobody put there on purpose; it is passed over."""
    # macOS stores extended attributes as "._name" and in "__MACOSX/".
    return parts[0] == "__MACOSX" or parts[-1] in LEFTOVERS or parts[-1].startswith("._")


def is_text(parts: Parts) -> bool:
    """Whether the entry is a note to people, allowed at the top of the archive."""
    path = PurePosixPath(parts[-1])
    return path.suffix.lower() in (".txt", ".md") or path.name.upper() in _TEXTS


def is_image(parts: Parts) -> bool:
    """Whether the name promises an image."""
    return parts[-1].lower().endswith(IMAGE_SUFFIXES)


def _problem(raw: str) -> str | None:
    if len(raw) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    if _UNREADABLE.search(raw):
        return "has control characters or is not UTF-8"
    if raw.startswith("/") or _DRIVE.match(raw):
        return "is an absolute path"
    if "\\" in raw:
        return "has a backslash"
    if any(".." in re.split(r"[/\\]", reading) for reading in _readings(raw)):
        return "climbs out of its folder"
    return None


def _readings(raw: str) -> Iterator[str]:
    """The name as it is, and as a careless reader might decode it.

    We never do, nor is a name ever a path here; but names of classes travel on in bundles, to be
    unpacked by programs that may.
    """
    yield raw
    for _ in range(2):  # '%252e' is '%2e' is '.'
        raw = unquote(raw)
        yield raw
    yield unicodedata.normalize("NFKC", raw)  # full-width dots and slashes, among others
