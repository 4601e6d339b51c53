"""Writing a bundle. The same content gives the same bytes: nothing asks the clock."""

import hashlib
import re
from importlib.resources import files
from pathlib import Path

import safetensors.torch
from torch import Tensor

from dcpi_core.bundle.card import render_card
from dcpi_core.bundle.checks import DATA_NAME, REPORT_NAME, SPEC_NAME, SUMS_NAME
from dcpi_core.bundle.describe import Content, Identity, describe
from dcpi_core.bundle.measured import NEIGHBOURS_NAME
from dcpi_core.bundle.previews import accuracy_png, grid_png, neighbours_png
from dcpi_core.condensed import CondensedSet
from dcpi_core.spec.job import JobSpec
from dcpi_core.spec.manifest import MANIFEST_NAME, FileEntry, Manifest
from dcpi_core.spec.report import Report
from dcpi_core.spec.rules import chooses_freely

_ROLES = {
    DATA_NAME: ("training", "application/vnd.safetensors"),
    REPORT_NAME: ("report", "application/json"),
    SPEC_NAME: ("spec", "application/json"),
    "train.py": ("code", "text/x-python"),
    "previews/grid.png": ("preview", "image/png"),
    "previews/accuracy.png": ("preview", "image/png"),
    NEIGHBOURS_NAME: ("preview", "image/png"),
    "README.md": ("doc", "text/markdown"),
}


def write(
    directory: str | Path,
    condensed: CondensedSet,
    spec: JobSpec,
    report: Report,
    identity: Identity | None = None,
    neighbours: Tensor | None = None,
) -> Manifest:
    """Write the bundle into ``directory``, which is made if needed, and return its manifest.

    ``neighbours`` are images (n, C, H, W) to be shown beside those of the set.

    A bundle that is already there is replaced. The manifest goes last, so a directory whose
    writing was interrupted is never taken for a bundle.
    """
    root = Path(directory)
    (root / "previews").mkdir(parents=True, exist_ok=True)
    for name in (SUMS_NAME, MANIFEST_NAME, NEIGHBOURS_NAME):
        (root / name).unlink(missing_ok=True)
    content = Content(condensed, spec, report, identity or Identity())
    blobs = _blobs(content)
    if neighbours is not None:
        blobs[NEIGHBOURS_NAME] = neighbours_png(condensed, neighbours, spec.dataset, _caption(spec))
    # The card shows the manifest, and the manifest lists the card: describe the rest first.
    card = render_card(describe(content, _entries(blobs)), report)
    blobs["README.md"] = card.encode()
    manifest = describe(content, _entries(blobs))
    blobs[MANIFEST_NAME] = manifest.to_json().encode()
    blobs[SUMS_NAME] = _sums(blobs)
    for name, blob in blobs.items():
        (root / name).write_bytes(blob)
    return manifest


def _blobs(content: Content) -> dict[str, bytes]:
    spec, report = content.spec, content.report
    tensors, _ = content.stored
    caption = _caption(spec)
    return {
        # One metadata key only: safetensors writes several in random order.
        DATA_NAME: safetensors.torch.save(tensors, metadata={"format": "pt"}),
        REPORT_NAME: report.model_dump_json(indent=2).encode() + b"\n",
        SPEC_NAME: spec.model_dump_json(indent=2).encode() + b"\n",
        "train.py": _training_script().encode(),
        "previews/grid.png": grid_png(content.condensed, spec.dataset, caption),
        "previews/accuracy.png": accuracy_png(report, caption),
    }


def _training_script() -> str:
    source = files("dcpi_core.bundle").joinpath("standalone.py").read_text(encoding="utf-8")
    # Word to our own linters is of no interest to the reader of a bundle.
    return re.sub(r"(?m)^# (ruff|mypy): .*\n+", "", source)


def _caption(spec: JobSpec) -> str:
    method = " + ".join([spec.base_method.name, *(part.name for part in spec.privileged)])
    count = spec.images_per_class
    plural = "" if count == 1 else "s"
    average = " on average" if chooses_freely(spec.base_method) else ""
    return f"{spec.dataset.name}, {method}, {count} image{plural} per class{average}"


def _entries(blobs: dict[str, bytes]) -> tuple[FileEntry, ...]:
    return tuple(
        FileEntry(
            path=name,
            role=_ROLES[name][0],
            media_type=_ROLES[name][1],
            bytes=len(blob),
            sha256=hashlib.sha256(blob).hexdigest(),
        )
        for name, blob in blobs.items()
    )


def _sums(blobs: dict[str, bytes]) -> bytes:
    rows = [f"{hashlib.sha256(blob).hexdigest()}  {name}\n" for name, blob in sorted(blobs.items())]
    return "".join(rows).encode()
