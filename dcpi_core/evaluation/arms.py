"""The arms of a report: the training sets that are measured side by side with the same seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dcpi_core.bundle.tensors import stored_bytes
from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context
from dcpi_core.evaluation.controls import (
    ControlPlan,
    moved_at_random,
    permuted,
    random_images,
    with_assigned_labels,
)
from dcpi_core.privileged.base import AnyPrivilegedType
from dcpi_core.spec.report import ArmName

TrainingSet = Callable[[int], CondensedSet]
"""What the student of a repeat trains on."""


@dataclass(frozen=True)
class ArmPlan:
    """A training set to measure, and what it weighs as a bundle would store it."""

    name: ArmName
    title: str
    num_images: int
    train_bytes: int
    training_set: TrainingSet


@dataclass(frozen=True)
class Ingredients:
    """What arms are made of.

    Attributes:
        base_method: its name, for the titles.
        sets: finished sets: ``base``; ``tuned`` images if labels were learned together with them;
            ``enriched`` as shipped and ``assigned`` if there are labels; those of controls.
        learned: whether the shipped labels differ from the assigned ones.
        types: the privileged types, which label random images too.
        controls: the controls that apply.
    """

    base_method: str
    sets: Mapping[str, CondensedSet]
    learned: bool
    types: Sequence[AnyPrivilegedType]
    controls: ControlPlan
    ctx: Context


def plan_arms(given: Ingredients) -> list[ArmPlan]:
    """The arms of a job, in the order the report shows them."""
    base, sets = given.base_method, given.sets
    arms = [_random(given), _fixed("base", base, sets["base"])]
    if "tuned" in sets:
        arms.append(_fixed("tuned", f"{base}, images tuned", sets["tuned"]))
    if given.learned:
        assigned = sets["assigned"]
        arms.append(_fixed("assigned", f"{base} + assigned {_kinds(assigned)}", assigned))
    if "enriched" in sets:
        shipped = sets["enriched"]
        arms.append(_fixed("privileged", f"{base} + {_kinds(shipped)}", shipped))
    return arms + [_CONTROLS[name](given) for name in given.controls.names]


def _fixed(name: ArmName, title: str, condensed: CondensedSet) -> ArmPlan:
    size = stored_bytes(condensed).total
    return ArmPlan(name, title, len(condensed), size, lambda _: condensed)


def _random(given: Ingredients) -> ArmPlan:
    base, ctx = given.sets["base"], given.ctx
    size = stored_bytes(base).total
    return ArmPlan("random", "random images", len(base), size, lambda n: random_images(n, ctx))


def _equal_bytes(given: Ingredients) -> ArmPlan:
    title = f"{given.base_method}, equal bytes: {given.controls.images_per_class} per class"
    return _fixed("equal_bytes", title, given.sets["equal_bytes"])


def _equal_steps(given: Ingredients) -> ArmPlan:
    title = f"{given.base_method}, {given.controls.further_steps:,} further steps"
    return _fixed("equal_steps", title, given.sets["equal_steps"])


def _random_privileged(given: Ingredients) -> ArmPlan:
    shipped, types, ctx = given.sets["enriched"], given.types, given.ctx

    def training_set(repeat: int) -> CondensedSet:
        return with_assigned_labels(random_images(repeat, ctx), types, ctx)

    title = f"random images + {_kinds(shipped)}"
    size = stored_bytes(shipped).total
    return ArmPlan("random_privileged", title, len(shipped), size, training_set)


def _permuted(given: Ingredients) -> ArmPlan:
    found = permuted(given.sets["enriched"], given.ctx.images_per_class)
    return _fixed("permuted", f"{given.base_method} + permuted {_kinds(found)}", found)


def _noise(given: Ingredients) -> ArmPlan:
    shipped, assigned, ctx = given.sets["enriched"], given.sets["assigned"], given.ctx

    def training_set(repeat: int) -> CondensedSet:
        return moved_at_random(shipped, assigned, ctx.streams.generator("noise_arm", repeat))

    title = f"{given.base_method} + noise on {_kinds(shipped)}"
    return ArmPlan("noise", title, len(shipped), stored_bytes(shipped).total, training_set)


_CONTROLS: dict[str, Callable[[Ingredients], ArmPlan]] = {
    "equal_bytes": _equal_bytes,
    "equal_steps": _equal_steps,
    "random_privileged": _random_privileged,
    "permuted": _permuted,
    "noise": _noise,
}


def _kinds(condensed: CondensedSet) -> str:
    return " + ".join(f"{labels.kind} labels" for labels in condensed.privileged)
