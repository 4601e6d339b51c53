"""Finished base sets, kept for every later job that asks for the same.

Labels of another kind on the same images then cost no second condensation.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from dcpi_core.bundle.tensors import from_tensors, to_tensors
from dcpi_core.checkpoint import load_kept, save_tensors
from dcpi_core.code import code_digest
from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context
from dcpi_core.spec.job import Component


@dataclass(frozen=True)
class BaseSet:
    """What a base method made, and what that took where it was made."""

    condensed: CondensedSet
    seconds: float
    device_seconds: float | None


class BaseSets:
    """Base sets by the digest of all that determines them; safe to share between processes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, method: Component, ctx: Context) -> BaseSet | None:
        """The set that ``method`` makes in ``ctx``; None if none is kept, or none is readable."""
        found = load_kept(self._path(method, ctx))
        if found is None:
            return None
        tensors, values = found
        condensed = from_tensors(tensors, values["set"])
        return BaseSet(condensed, values["seconds"], values["device_seconds"])

    def keep(self, made: BaseSet, method: Component, ctx: Context) -> None:
        """Remember what ``method`` made in ``ctx``."""
        tensors, settings = to_tensors(made.condensed)
        values = {"set": settings, "seconds": made.seconds, "device_seconds": made.device_seconds}
        save_tensors(self._path(method, ctx), tensors, values)

    def _path(self, method: Component, ctx: Context) -> Path:
        determined_by = {
            "code": code_digest(),
            "method": method.model_dump(mode="json"),
            "data": ctx.facts.seen_as,
            "images_per_class": ctx.images_per_class,
            "network": ctx.network,
            "seed": ctx.streams.seed,
        }
        digest = hashlib.sha256(json.dumps(determined_by, sort_keys=True).encode()).hexdigest()
        # By kind of device, like trained networks: the same to the eye is not the same to the bit.
        return self.root / ctx.runtime.device.type / "base_sets" / f"{digest}.safetensors"
