"""Students that earlier jobs have measured: the same bytes and seed give the same student.

The same random images stand beside every method, and the same base set beside labels of every
kind; they are measured once.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from dcpi_core.bundle.tensors import SOURCE_INDICES, to_tensors
from dcpi_core.checkpoint import load_kept, save_tensors
from dcpi_core.code import code_digest
from dcpi_core.condensed import CondensedSet
from dcpi_core.datasets.base import ImageDataset
from dcpi_core.evaluation.measure import Measurement, Trial


class Measurements:
    """Measurements by the digest of all that determines them; safe to share between processes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, key: str) -> Measurement | None:
        """The measurement of this key; None if it is not there or cannot be read."""
        found = load_kept(self._path(key))
        return None if found is None else Measurement.restore(found[1])

    def keep(self, key: str, found: Measurement) -> None:
        """Remember a measurement."""
        save_tensors(self._path(key), {}, asdict(found))

    def _path(self, key: str) -> Path:
        return self.root / "measurements" / key[:2] / f"{key}.safetensors"


def key_of(
    trial: Trial,
    condensed: CondensedSet | None,
    source: ImageDataset,
    device: str,
    test_every: int = 0,
) -> str:
    """Digest of everything that decides what a student gets right.

    Args:
        condensed: what it trains on; None: all training images of the source, which need not be
            made for this.
        device: kind of device. How many threads a CPU has does not count: each operation of a
            student has one.
        test_every: how often the student is tested along its training, if it is.
    """
    facts, tensors = source.facts, dict[str, Tensor]()
    determined_by: dict[str, Any] = {
        "code": code_digest(),
        "trial": asdict(trial),
        "data": facts.seen_as,
        "where": device,
    }
    if condensed is None:
        determined_by["all_images"] = {"mean": facts.mean, "std": facts.std}
    else:
        tensors, determined_by["labels"] = to_tensors(condensed)
    if test_every:
        determined_by["test_every"] = test_every
    digest = hashlib.sha256(json.dumps(determined_by, sort_keys=True).encode())
    for name in sorted(tensors.keys() - {SOURCE_INDICES}):
        values = tensors[name]
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()
