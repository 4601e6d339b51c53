"""The arms of a report: the training sets that are measured side by side with the same seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from dcpi_core.bundle.tensors import stored_bytes
from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context
from dcpi_core.evaluation.controls import (
    ControlPlan,
    all_images,
    moved_at_random,
    permuted,
    random_images,
    with_assigned_labels,
)
from dcpi_core.evaluation.protocols import Recipes
from dcpi_core.privileged.base import AnyPrivilegedType
from dcpi_core.spec.controls import image_bytes
from dcpi_core.spec.report import ArmName
from dcpi_core.training import Recipe

TrainingSet = Callable[[int], CondensedSet]
"""What the student of a repeat trains on."""


@dataclass(frozen=True)
class ArmPlan:
    """A training set to measure, what it weighs as a bundle would store it, and how it is used.

    ``all_images``: it is the source's whole training split, the one set that is large. So it is
    made for students who train on it and not before, once for all who do so side by side.
    """

    name: ArmName
    title: str
    num_images: int
    train_bytes: int
    training_set: TrainingSet
    recipe: Recipe
    all_images: bool = False


@dataclass(frozen=True)
class Ingredients:
    """What arms are made of.

    Attributes:
        base_method: its name, for the titles.
        sets: finished sets: ``base``; ``tuned`` images if labels were learned together with them;
            ``enriched`` as shipped, ``start`` with the labels before learning and ``assigned``
            to the base images if there are labels; those of controls.
        learned: whether the shipped labels differ from the assigned ones.
        types: the privileged types, which label random images too.
        controls: the controls that apply.
        recipes: how students are trained.
    """

    base_method: str
    sets: Mapping[str, CondensedSet]
    learned: bool
    types: Sequence[AnyPrivilegedType]
    controls: ControlPlan
    recipes: Recipes
    ctx: Context


def plan_arms(given: Ingredients) -> list[ArmPlan]:
    """The arms of a job, in the order the report shows them."""
    base, sets = given.base_method, given.sets
    arms = [_random(given), _fixed("base", base, sets["base"], given)]
    if "tuned" in sets:
        arms.append(_fixed("tuned", f"{base}, images tuned", sets["tuned"], given))
    if given.learned:
        assigned = sets["assigned"]
        arms.append(_fixed("assigned", f"{base} + {_starting_kinds(given)}", assigned, given))
    if "enriched" in sets:
        arms.append(_shipped(given))
    return arms + [_CONTROLS[name](given) for name in given.controls.names]


def _fixed(name: ArmName, title: str, condensed: CondensedSet, given: Ingredients) -> ArmPlan:
    size = stored_bytes(condensed).total
    return ArmPlan(name, title, len(condensed), size, lambda _: condensed, given.recipes.own)


def _random(given: Ingredients) -> ArmPlan:
    base, ctx = given.sets["base"], given.ctx
    size = len(base) * image_bytes(ctx.facts)

    def training_set(repeat: int) -> CondensedSet:
        return random_images(repeat, ctx)

    return ArmPlan("random", "random images", len(base), size, training_set, given.recipes.own)


def _shipped(given: Ingredients) -> ArmPlan:
    if "enriched" not in given.sets:
        return _fixed("base", given.base_method, given.sets["base"], given)
    shipped = given.sets["enriched"]
    return _fixed("privileged", f"{given.base_method} + {_kinds(shipped)}", shipped, given)


def _equal_bytes(given: Ingredients) -> ArmPlan:
    title = f"{given.base_method}, equal bytes: {given.controls.images_per_class} per class"
    return _fixed("equal_bytes", title, given.sets["equal_bytes"], given)


def _equal_steps(given: Ingredients) -> ArmPlan:
    title = f"{given.base_method}, {given.controls.further_steps:,} further steps"
    return _fixed("equal_steps", title, given.sets["equal_steps"], given)


def _random_privileged(given: Ingredients) -> ArmPlan:
    shipped, types, ctx = given.sets["enriched"], given.types, given.ctx

    def training_set(repeat: int) -> CondensedSet:
        return with_assigned_labels(random_images(repeat, ctx), types, ctx)

    # Random images are whole: each has the labels of one tile.
    labels = sum(stored_bytes(shipped).privileged.values()) // shipped.tiles
    return ArmPlan(
        "random_privileged",
        f"random images + {_assigned_kinds(given)}",
        len(shipped),
        len(shipped) * image_bytes(ctx.facts) + labels,
        training_set,
        given.recipes.own,
    )


def _permuted(given: Ingredients) -> ArmPlan:
    found = permuted(given.sets["enriched"], given.ctx.images_per_class)
    return _fixed("permuted", f"{given.base_method} + permuted {_kinds(found)}", found, given)


def _noise(given: Ingredients) -> ArmPlan:
    shipped, start, ctx = given.sets["enriched"], given.sets["start"], given.ctx

    def training_set(repeat: int) -> CondensedSet:
        return moved_at_random(shipped, start, ctx.streams.generator("noise_arm", repeat))

    return ArmPlan(
        "noise",
        f"{given.base_method} + noise on {_kinds(shipped)}",
        len(shipped),
        stored_bytes(shipped).total,
        training_set,
        given.recipes.own,
    )


def _full(given: Ingredients) -> ArmPlan:
    ctx, recipe = given.ctx, given.recipes.full
    count = len(ctx.train)
    return ArmPlan(
        "full",
        f"all training images, {recipe.epochs:,} epochs",
        count,
        count * image_bytes(ctx.facts),
        lambda _: all_images(ctx),
        recipe,
        all_images=True,
    )


def _other_view(given: Ingredients) -> ArmPlan:
    return _viewed("other_view", _shipped(given), given)


def _random_other_view(given: Ingredients) -> ArmPlan:
    return _viewed("random_other_view", _random(given), given)


def _viewed(name: ArmName, arm: ArmPlan, given: Ingredients) -> ArmPlan:
    recipe = given.recipes.other_view
    title = f"{arm.title}, augmentation {recipe.augmentation}"
    return replace(arm, name=name, title=title, recipe=recipe)


_CONTROLS: dict[str, Callable[[Ingredients], ArmPlan]] = {
    "equal_bytes": _equal_bytes,
    "equal_steps": _equal_steps,
    "random_privileged": _random_privileged,
    "permuted": _permuted,
    "noise": _noise,
    "full": _full,
    "other_view": _other_view,
    "random_other_view": _random_other_view,
}


def _starting_kinds(given: Ingredients) -> str:
    """What learning started from: a teacher's word, which is assigned, or noise."""
    noise = not all(kind.teachers(given.ctx) for kind in given.types)
    return f"{'starting' if noise else 'assigned'} {_assigned_kinds(given)}"


def _assigned_kinds(given: Ingredients) -> str:
    """The labels that the types make without learning; noise where they ask no teacher."""
    return " + ".join(
        f"{kind.labels.kind} labels" + ("" if kind.teachers(given.ctx) else " (noise)")
        for kind in given.types
    )


def _kinds(condensed: CondensedSet) -> str:
    return " + ".join(f"{labels.kind} labels" for labels in condensed.privileged)
