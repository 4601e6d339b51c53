"""Which code this is, for what is kept from one run to the next."""

import hashlib
from functools import cache
from pathlib import Path

TALK = ("cli", "client")
"""Packages that compute nothing."""


@cache
def code_digest() -> str:
    """Digest of every source file that can have a say in a result.

    A version number does not change with every change of the code, and what older code made must
    not pass for what this code makes.
    """
    return digest_of(Path(__file__).parent)


def digest_of(root: Path) -> str:
    """Digest of the sources of a package, without the parts that compute nothing."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        where = path.relative_to(root)
        if where.parts[0] not in TALK:
            digest.update(where.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
