"""Controls: training sets that differ from the shipped one in a single thing.

Each answers a doubt. Would the bytes of the labels be better spent on images, their steps on
further synthesis? Do the labels need these images, their own classes, their learning?
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dcpi_core.bundle.tensors import stored_bytes
from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context
from dcpi_core.methods.base import AnyMethod
from dcpi_core.privileged.base import AnyPrivilegedType
from dcpi_core.spec.controls import APPLY_TO_ANY_SET, images_per_class_in, iterates
from dcpi_core.spec.job import Control, JobSpec
from dcpi_core.spec.rules import chooses_freely


@dataclass(frozen=True)
class ControlPlan:
    """Which of the controls asked for a job can have.

    Attributes:
        names: the controls that apply, in the order of the report.
        images_per_class: of the base method at equal bytes.
        further_steps: of the base method at equal steps.
        notes: a sentence for each comparison that does not apply, or not fully.
    """

    names: tuple[Control, ...]
    images_per_class: int
    further_steps: int
    notes: tuple[str, ...]


def plan_controls(spec: JobSpec, sets: Mapping[str, CondensedSet], label_steps: int) -> ControlPlan:
    """Decide which controls apply.

    Args:
        spec: the job.
        sets: its finished sets: ``base``, and ``enriched`` and ``start`` if it has labels.
        label_steps: steps by which the labels were learned; 0 if they were assigned.
    """
    missing = {name: _why_not(name, spec, sets, label_steps) for name in spec.evaluation.controls}
    names = tuple(name for name, reason in missing.items() if reason is None)
    notes = [f"Control {name} left out: {reason}." for name, reason in missing.items() if reason]
    if spec.evaluation.gradient_alignment and "enriched" not in sets:
        notes.append("Gradient alignment left out: the set has no privileged labels.")
    fitting = _images_per_class(spec, sets)
    if "equal_bytes" in names and fitting == min(spec.dataset.train_per_class):
        notes.append(
            f"Control equal_bytes has {fitting} images per class, all of the smallest class; "
            "the bytes of the shipped set may hold more."
        )
    return ControlPlan(names, fitting, label_steps, tuple(notes))


def _why_not(
    name: Control, spec: JobSpec, sets: Mapping[str, CondensedSet], label_steps: int
) -> str | None:
    """Why a control makes no sense here; None if it does."""
    if name in APPLY_TO_ANY_SET:
        return None
    if "enriched" not in sets:
        return "the set has no privileged labels"
    shipped, own = sets["enriched"], spec.images_per_class
    reasons: dict[Control, str | None] = {}
    if _images_per_class(spec, sets) <= own:
        size = f"{stored_bytes(shipped).total:,}"
        reasons["equal_bytes"] = f"its {size} bytes hold no more than {own} images per class"
        if own == min(spec.dataset.train_per_class):
            reasons["equal_bytes"] = "it has every image of the smallest class"
    if not label_steps:
        reasons["equal_steps"] = reasons["noise"] = "the labels were assigned, not learned"
    elif not iterates(spec.base_method):
        reasons["equal_steps"] = f"{spec.base_method.name} has no steps to go on with"
    if label_steps and not any(_moves(shipped, sets["start"])):
        reasons["noise"] = (
            "learning did not move the labels, or only such as stand in for the classes themselves"
        )
    reasons["permuted"] = _why_not_permuted(spec, shipped)
    return reasons.get(name)


def _why_not_permuted(spec: JobSpec, shipped: CondensedSet) -> str | None:
    if chooses_freely(spec.base_method):
        return "the images are not as many of each class"
    if all(labels.replaces_hard_labels for labels in shipped.privileged):
        return "all its labels stand in for the classes themselves"
    return None


def _images_per_class(spec: JobSpec, sets: Mapping[str, CondensedSet]) -> int:
    shipped = sets.get("enriched", sets["base"])
    return images_per_class_in(stored_bytes(shipped).total, spec.dataset)


@dataclass(frozen=True)
class Making:
    """A further run of the base method: from which state, and steps ``first`` to ``last - 1``."""

    name: Control
    ctx: Context
    start: Callable[[], Any]
    first: int
    last: int


def plan_makings(
    plan: ControlPlan, method: AnyMethod, base_state: Any, ctx: Context
) -> list[Making]:
    """The base method's further runs, with its own options and random streams."""
    larger = replace(ctx, images_per_class=plan.images_per_class)
    done, again = method.total_steps(ctx), method.total_steps(larger)
    # A copy: a step may change its state in place, and the base set shares memory with it.
    makings = {
        "equal_steps": Making(
            "equal_steps", ctx, lambda: copy.deepcopy(base_state), done, done + plan.further_steps
        ),
        "equal_bytes": Making("equal_bytes", larger, lambda: method.init(larger), 0, again),
    }
    return [makings[name] for name in plan.names if name in makings]


def random_images(repeat: int, ctx: Context) -> CondensedSet:
    """Images drawn at random for this repeat, as many as the budget allows."""
    picked = []
    for label in range(ctx.facts.num_classes):
        members = ctx.train.of_class(label)
        draw = ctx.streams.generator("random_arm", repeat, label)
        picked.append(members[torch.randperm(len(members), generator=draw)[: ctx.images_per_class]])
    index = torch.cat(picked)
    return CondensedSet(ctx.normalised(index).cpu(), ctx.train.labels[index])


def all_images(ctx: Context) -> CondensedSet:
    """The whole training split as a set to train on, float32: images in its order."""
    everything = torch.arange(len(ctx.train))
    return CondensedSet(
        torch.cat([part.cpu() for part in ctx.batches(everything)]), ctx.train.labels
    )


def with_assigned_labels(
    condensed: CondensedSet, types: Sequence[AnyPrivilegedType], ctx: Context
) -> CondensedSet:
    """The same images with the labels that these types assign directly."""
    labels = [kind.assigned(kind.init(condensed, ctx)) for kind in types]
    return condensed.with_privileged(*labels)


def permuted(condensed: CondensedSet, images_per_class: int) -> CondensedSet:
    """Every image with the privileged labels of its counterpart in the class before.

    Hard labels, and labels that stand in for them, stay: those would teach wrong classes.
    """
    index = torch.arange(len(condensed) * condensed.tiles)
    index = index.roll(images_per_class * condensed.tiles)
    labels = [own if own.replaces_hard_labels else own.batch(index) for own in condensed.privileged]
    return condensed.with_privileged(*labels)


def moved_at_random(
    shipped: CondensedSet, start: CondensedSet, generator: torch.Generator
) -> CondensedSet:
    """The shipped images with labels as before learning, moved as far as learning moved them.

    The Gaussian noise of each type has exactly the root mean square of its learned drift. Labels
    that were not learned are those shipped, in ``start`` too.
    """
    labels = []
    for own, move in zip(start.privileged, _moves(shipped, start), strict=True):
        if move:
            values = own.as_values()
            noise = torch.randn(values.shape, generator=generator)
            own = own.with_values(values + noise * (move / _rms(noise)))
        labels.append(own)
    return shipped.with_privileged(*labels)


def _moves(shipped: CondensedSet, start: CondensedSet) -> list[float]:
    """Root mean square by which learning moved the labels of each type.

    Zero for labels in the place of the classes: noise would make no probabilities of them.
    """
    return [
        0.0 if end.replaces_hard_labels else _rms(end.as_values() - before.as_values())
        for end, before in zip(shipped.privileged, start.privileged, strict=True)
    ]


def _rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())
