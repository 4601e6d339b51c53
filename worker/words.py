"""What a child says, made fit to be stored and shown: any text may come out of a broken process."""

import re

MAX_CHARS = 8000
"""Longer texts are cut."""

_PATH = re.compile(r"(?<![\w:/.])(?:/[^\s/'\"`:,;()<>\[\]{}]+)+/?")


def storable(text: str) -> str:
    """The text without what a database refuses: NUL, and halves of surrogate pairs."""
    return (
        text.encode(errors="replace")
        .decode()
        .replace("\0", "\N{REPLACEMENT CHARACTER}")[:MAX_CHARS]
    )


def public(text: str) -> str:
    """The text without paths of this machine, which say nothing to a user but much about us."""
    return _PATH.sub("[path]", storable(text))
