"""All that a job has done so far, in memory and as a checkpoint on disk."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from dcpi_core.bundle.tensors import from_tensors, to_tensors
from dcpi_core.checkpoint import below, load_tensors, pack, save_tensors, unpack
from dcpi_core.code import code_digest
from dcpi_core.condensed import CondensedSet
from dcpi_core.spec.errors import CheckpointError, OutdatedCheckpoint
from dcpi_core.spec.progress import Phase

_NUMBERS = (
    "component",
    "step",
    "runs",
    "metrics",
    "seconds",
    "device_seconds",
    "full_epoch_seconds",
    "peaks",
    "label_statistics",
    "gradient_alignment",
    "networks_found",
    "base_reused",
    "remembered",
    "selection",
)
"""Fields that are JSON as they are."""


@dataclass
class Memory:
    """Where a job is, and what it has made.

    Attributes:
        component: which privileged type, or which control, is at work.
        step: steps that it has done.
        partial: the state of the method or privileged type at work.
        base_state: the base method's last state, kept while a control will go on from it.
        sets: finished condensed sets by name.
        runs: finished measurements.
        seconds: wall seconds by phase; ``device_seconds`` those between events on a GPU.
        full_epoch_seconds: of one epoch on the whole training data, if this job measured it.
        peaks: largest memory seen so far, in bytes.
        label_statistics: finished descriptions of the labels; so is ``gradient_alignment``.
        networks_found: how many teachers and proxies had been trained before, whole or in part.
        base_reused: the base set was made by an earlier job.
        remembered: how many of the runs had been measured before, for another job or another try.
        selection: what a coreset rule chose, described.
    """

    phase: Phase = Phase.PREPARE
    component: int = 0
    step: int = 0
    partial: Any = None
    base_state: Any = None
    sets: dict[str, CondensedSet] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    device_seconds: dict[str, float] = field(default_factory=dict)
    full_epoch_seconds: float | None = None
    peaks: dict[str, int] = field(default_factory=dict)
    label_statistics: list[dict[str, Any]] = field(default_factory=list)
    gradient_alignment: list[dict[str, Any]] = field(default_factory=list)
    networks_found: int = 0
    base_reused: bool = False
    remembered: int = 0
    selection: dict[str, Any] | None = None

    @property
    def shipped(self) -> CondensedSet:
        """The set that goes into the bundle, as far as it is made."""
        return self.sets.get("enriched", self.sets["base"])


@dataclass(frozen=True)
class StateTypes:
    """Classes of the states that a job's checkpoint may hold."""

    method: type[Any]
    privileged: tuple[type[Any], ...]

    def of(self, phase: Phase, component: int) -> type[Any]:
        """The class of the partial state: controls are made by the base method."""
        return self.privileged[component] if phase is Phase.PRIVILEGED else self.method


def save_memory(path: Path, memory: Memory, digest: str) -> None:
    """Write ``memory`` of the job whose spec has this digest; replaces the file atomically."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {name: getattr(memory, name) for name in _NUMBERS}
    values |= {"spec": digest, "code": code_digest(), "phase": memory.phase.value, "sets": {}}
    for name in ("partial", "base_state"):
        state = getattr(memory, name)
        values[name] = None
        if state is not None:
            found, values[name] = pack(state, f"{name}.")
            tensors |= found
    for name, condensed in memory.sets.items():
        found, values["sets"][name] = to_tensors(condensed)
        tensors |= {f"sets.{name}.{key}": value for key, value in found.items()}
    save_tensors(path, tensors, values)


def load_memory(path: Path, digest: str, types: StateTypes) -> Memory:
    """Read what ``save_memory`` wrote; an empty memory if there is no such file.

    Raises:
        CheckpointError: the checkpoint cannot be read, or belongs to another job.
        OutdatedCheckpoint: it was left by other code.
    """
    if not path.exists():
        return Memory()
    tensors, values = load_tensors(path)
    if values["spec"] != digest:
        raise CheckpointError(f"{path.name} belongs to another job; use another directory")
    if values.get("code") != code_digest():
        raise OutdatedCheckpoint(f"{path.name} was left by other code; delete it to begin again")
    memory = Memory(
        phase=Phase(values["phase"]),
        **{name: values[name] for name in _NUMBERS},
    )
    for name, settings in values["sets"].items():
        memory.sets[name] = from_tensors(below(f"sets.{name}.", tensors), settings)
    if values["partial"] is not None:
        kind = types.of(memory.phase, memory.component)
        memory.partial = unpack(kind, tensors, values["partial"], "partial.")
    if values["base_state"] is not None:
        memory.base_state = unpack(types.method, tensors, values["base_state"], "base_state.")
    return memory
