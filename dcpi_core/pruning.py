"""Keeping directories of reusable files within a limit. Imports no torch."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

ASSET_BYTES = 20 * 2**30
"""What the command line keeps of assets; a teacher has a few MB, and every state of the code and
every dataset has its own."""


def prune_assets(root: Path, max_bytes: int = ASSET_BYTES) -> list[Path]:
    """Delete what jobs kept for later ones and was not used for longest until the rest fits.

    A job that needs it again makes it again, the same to the bit. Returns what was deleted.
    """
    return prune(root.rglob("*.*"), max_bytes)


def prune(paths: Iterable[Path], max_bytes: int) -> list[Path]:
    """Delete the files that were not used for longest until the rest fits; returns these."""
    found: list[tuple[float, int, Path]] = []
    for path in paths:
        with suppress(FileNotFoundError):  # several processes may share a directory
            stat = path.stat()
            found.append((stat.st_mtime, stat.st_size, path))
    excess = sum(size for _, size, _ in found) - max_bytes
    pruned = []
    for _, size, path in sorted(found):
        if excess <= 0:
            break
        path.unlink(missing_ok=True)
        excess -= size
        pruned.append(path)
    return pruned
