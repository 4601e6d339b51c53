"""A bundle directory as one zip: stored members, fixed dates, the same bytes every time."""

import zipfile
from pathlib import Path

from dcpi_core.bundle.checks import SUMS_NAME
from dcpi_core.spec.manifest import MANIFEST_NAME, parse_manifest

_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_zip(directory: str | Path, target: str | Path) -> Path:
    """Pack the files that the bundle's manifest lists into ``target`` and return its path.

    Members are stored, not compressed: the data hardly compresses, and byte ranges of the zip
    are byte ranges of the files.
    """
    root, target = Path(directory), Path(target)
    manifest = parse_manifest((root / MANIFEST_NAME).read_bytes())
    names = [MANIFEST_NAME, SUMS_NAME, *sorted(entry.path for entry in manifest.files)]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            info.create_system = 3  # Unix, whatever wrote it
            archive.writestr(info, (root / name).read_bytes())
    return target
