"""Keeping directories of reusable files within a limit. Imports no torch."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

ASSET_BYTES = 20 * 2**30
"""What the command line keeps of assets; a teacher has a few MB, and every state of the code and
every dataset has its own."""


ASSET_SUFFIXES = (".safetensors", ".partial", ".signals", ".tmp")
"""Of files that jobs keep; whatever else lies there is somebody's own."""


def prune_assets(root: Path, max_bytes: int = ASSET_BYTES) -> list[Path]:
    """Delete what jobs kept for later ones and was not used for longest until the rest fits.

    A job that needs it again makes it again, the same to the bit. Returns what was deleted.
    """
    kept = (path for path in root.rglob("*") if path.suffix in ASSET_SUFFIXES)
    return prune(kept, max_bytes)


def prune(paths: Iterable[Path], max_bytes: int) -> list[Path]:
    """Delete the files that were not used for longest until the rest fits; returns these."""
    found: list[tuple[float, int, Path]] = []
    for path in paths:
        with suppress(FileNotFoundError):  # several processes may share a directory
            stat = path.stat()
            if S_ISREG(stat.st_mode):
                found.append((stat.st_mtime, stat.st_size, path))
    excess = sum(size for _, size, _ in found) - max_bytes
    pruned = []
    for _, size, path in sorted(found):
        if excess <= 0:
            break
        with suppress(OSError):  # gone by now, or not ours to delete
            path.unlink()
        excess -= size
        pruned.append(path)
    return pruned
