"""Where the demo's bundle goes: into the place of an earlier demo's, never over anything else."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from dcpi_core.spec.errors import InvalidInput
from dcpi_core.spec.manifest import MANIFEST_NAME, Manifest, parse_manifest

SUMS_NAME = "SHA256SUMS"  # the one file of a bundle, beside the manifest, that no manifest lists

Made = tuple[str, str, str]
"""What a set is of: its dataset, base method and privileged type."""


def require_replaceable(target: Path, made: Made) -> None:
    """Leave alone whatever is not exactly an earlier bundle of the same kind.

    Raises:
        InvalidInput: ``target`` is no directory, or holds something else than such a bundle.
        BundleError: its manifest cannot be read.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    manifest = target / MANIFEST_NAME
    if not manifest.is_file():
        raise InvalidInput(f"{str(target)!r} is not empty and holds no bundle")
    earlier = parse_manifest(manifest.read_bytes())
    if _made(earlier) != made:
        raise InvalidInput(f"{str(target)!r} holds another bundle than a demo's, {earlier.name!r}")
    own = {MANIFEST_NAME, SUMS_NAME, *(file.path for file in earlier.files)}
    for path in target.rglob("*"):
        name = path.relative_to(target).as_posix()
        if name not in own and (path.is_symlink() or not path.is_dir()):
            raise InvalidInput(f"{str(target)!r} holds {name!r}, which no demo has left there")


def replace(target: Path, made: Made, fill: Callable[[Path], object]) -> None:
    """Let ``fill`` make a bundle, and only then put it into the place of the earlier one.

    Raises:
        InvalidInput, BundleError: as ``require_replaceable``; then all is as it was.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as beside:
        fresh = Path(beside) / target.name
        fill(fresh)
        require_replaceable(target, made)  # it was some minutes ago that this was last asked
        if target.exists():
            shutil.rmtree(target)
        fresh.rename(target)


def _made(manifest: Manifest) -> Made:
    privileged = "+".join(part.name for part in manifest.method.privileged)
    return manifest.source.dataset, manifest.method.base.name, privileged
