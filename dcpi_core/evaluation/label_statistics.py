"""What privileged labels look like, without training a student.

Good labels tell the classes apart, yet differ within a class: the paper's Figure 3 finds students
best in between. The yardstick here is what the same teacher says of real training images that are
not in the condensed set, as many per class. (The teacher was trained on them; the labels were not
made from them. Test images are not touched.)

Everything is computed on labels of any shape, flattened to (n, d).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context
from dcpi_core.evaluation.controls import with_assigned_labels
from dcpi_core.privileged.base import AnyPrivilegedType, drift
from dcpi_core.spec.report import LabelStage, LabelStatistics, Verdict

REFERENCE_IMAGES = 10
"""Real images per class that the yardstick is made of at most, in draws of as many as the labels
are; where these are more, in a single draw."""

PROBED_IMAGES = 2000
"""Real images, in all classes together, whose class the labels are to tell."""

PROBED_VALUES = 2**26
"""What the labels of these may be made of, half a gigabyte in double precision; of large labels
fewer are probed, at least one in each class."""

TRANSFER_MARGIN = 0.05
RANK_RATIO = 0.75


@dataclass(frozen=True)
class Reference:
    """What a teacher says of real training images outside the condensed set.

    Attributes:
        draws: (r, n, ...) labels of r disjoint draws with as many images per class as the
            condensed set; (n,) ``labels`` are the classes of each.
        probed: (m, ...) labels of further images, of the classes ``probed_labels`` (m,).
    """

    draws: Tensor
    labels: Tensor
    probed: Tensor
    probed_labels: Tensor


def describe_labels(
    kind: str,
    stage: LabelStage,
    values: Tensor,
    labels: Tensor,
    start: Tensor | None = None,
    reference: Reference | None = None,
) -> LabelStatistics:
    """All statistics of one type's labels.

    Args:
        values: (n, ...), one label per image.
        labels: (n,) classes of the images.
        start: the labels before learning, if they were learned.
        reference: real images to compare with; without it there is neither transfer nor verdict.
    """
    found = LabelStatistics(
        kind=kind,
        stage=stage,
        fisher_ratio=fisher_ratio(values, labels),
        effective_rank=effective_rank(values),
        largest_rank=min(len(values) - 1, values[0].numel()),
        within_class_distance=within_class_distance(values, labels),
        drift=None if start is None else drift(values, start),
    )
    if reference is None:
        return found
    real = [
        (_transfer(own, reference.labels, reference), effective_rank(own))
        for own in reference.draws
    ]
    found = found.model_copy(
        update={
            "transfer": _transfer(values, labels, reference),
            "real_transfer": sum(t for t, _ in real) / len(real),
            "real_effective_rank": sum(r for _, r in real) / len(real),
        }
    )
    return found.model_copy(update={"verdict": verdict(found)})


def verdict(found: LabelStatistics) -> Verdict | None:
    """One word on the balance, against real images' labels by the same teacher.

    ``too diverse``: class means of the labels recognise real images worse by more than
    ``TRANSFER_MARGIN`` than class means of real images' labels do. Otherwise ``too
    discriminative``: the labels tell the classes apart, but their effective rank is below
    ``RANK_RATIO`` of the real ones', so they vary too little. Otherwise ``balanced``. None where
    there is nothing to compare with, or where all labels are equal and say nothing at all.
    """
    if found.transfer is None or found.real_transfer is None or not found.effective_rank:
        return None
    if found.transfer < found.real_transfer - TRANSFER_MARGIN:
        return "too diverse"
    if found.effective_rank < RANK_RATIO * (found.real_effective_rank or 0.0):
        return "too discriminative"
    return "balanced"


def centroid_transfer(values: Tensor, labels: Tensor, probed: Tensor, truth: Tensor) -> float:
    """Accuracy in [0, 1] of telling ``probed`` by the nearest class mean of ``values``.

    Args:
        values: (n, ...) with classes ``labels`` (n,).
        probed: (m, ...) with classes ``truth`` (m,).
    """
    classes, means = _class_means(_flat(values), labels)
    nearest = torch.cdist(_flat(probed), means).argmin(1)
    return float((classes[nearest] == truth).double().mean())


def fisher_ratio(values: Tensor, labels: Tensor) -> float | None:
    """Scatter between classes over scatter within them; larger is more discriminative.

    None where no class has two different labels: at one image per class in particular.
    """
    flat = _flat(values)
    classes, means = _class_means(flat, labels)
    own = means[torch.searchsorted(classes, labels)]
    within = float((flat - own).square().sum())
    if not _positive(within, flat):
        return None
    return float((own - flat.mean(0)).square().sum()) / within


def effective_rank(values: Tensor) -> float:
    """Exponential of the entropy of the normalised singular values of the centred labels.

    From 0 (all labels equal) to min(n - 1, d) (Roy and Vetterli, 2007); larger is more diverse.
    """
    flat = _flat(values)
    centred = flat - flat.mean(0)
    if not _positive(float(centred.square().sum()), flat):
        return 0.0
    sizes = torch.linalg.svdvals(centred)
    shares = sizes / sizes.sum()
    return float(torch.special.entr(shares).sum().exp())


def within_class_distance(values: Tensor, labels: Tensor) -> float | None:
    """Mean distance between labels of one class, relative to the mean norm of a label.

    Every pair counts once. None at one image per class, and where all labels are zero.
    """
    flat = _flat(values)
    norm = float(flat.norm(dim=1).mean())
    distances = torch.cat([torch.pdist(flat[labels == label]) for label in labels.unique()])
    return float(distances.mean()) / norm if len(distances) and norm else None


def job_statistics(
    shipped: CondensedSet,
    start: CondensedSet,
    types: list[AnyPrivilegedType],
    ctx: Context,
    chosen: Tensor | None = None,
) -> list[LabelStatistics]:
    """Statistics of every type's labels, as shipped and, if they were learned, as assigned.

    Args:
        shipped: the set with its labels.
        start: the same images with the labels that learning started from.
        chosen: positions in the training split of the images that the set was begun from.
    """
    found: list[LabelStatistics] = []
    classes = shipped.as_seen().labels
    for position, kind in enumerate(types):
        labels = shipped.privileged[position]
        reference = _reference(kind, shipped, ctx, chosen, _probed(labels.as_values(), ctx))
        values, before = labels.as_values(), None
        if kind.total_steps(ctx):
            before = start.privileged[position].as_values()
            own = describe_labels(labels.kind, "assigned", before, classes, None, reference)
            found.append(own)
        found.append(describe_labels(labels.kind, "shipped", values, classes, before, reference))
    return found


def _probed(values: Tensor, ctx: Context) -> int:
    """How many real images of each class to probe with labels like these (n, ...)."""
    fitting = min(PROBED_IMAGES, PROBED_VALUES // values[0].numel())
    return max(1, fitting // ctx.facts.num_classes)


def _reference(
    kind: AnyPrivilegedType,
    shipped: CondensedSet,
    ctx: Context,
    chosen: Tensor | None,
    most: int,
) -> Reference | None:
    """None where labels come from no teacher, or where a class has too few further images."""
    if not kind.teachers(ctx):
        return None
    num_classes, per_class = ctx.facts.num_classes, ctx.images_per_class * shipped.tiles
    repeats = max(1, REFERENCE_IMAGES // per_class)
    drawn = [_held_out(label, chosen, ctx) for label in range(num_classes)]
    if min(map(len, drawn)) <= repeats * per_class:
        return None
    parts = [
        torch.cat([own[number * per_class :][:per_class] for own in drawn])
        for number in range(repeats)
    ]
    probed = torch.cat([own[repeats * per_class :][:most] for own in drawn])
    return Reference(
        draws=_teacher_says(kind, torch.cat(parts), ctx).unflatten(0, (repeats, -1)),
        labels=ctx.train.labels[parts[0]],
        # What is to be told must not be given away by a hard label in it.
        probed=_teacher_says(kind.unaided(), probed, ctx),
        probed_labels=ctx.train.labels[probed],
    )


def _held_out(label: int, chosen: Tensor | None, ctx: Context) -> Tensor:
    """Training images of a class that the condensed set was not made of, in random order."""
    members = ctx.train.of_class(label)
    if chosen is not None:
        members = members[~torch.isin(members, chosen)]
    draw = ctx.streams.generator("label_reference", label)
    return members[torch.randperm(len(members), generator=draw)]


def _teacher_says(kind: AnyPrivilegedType, index: Tensor, ctx: Context) -> Tensor:
    images = torch.cat([part.cpu() for part in ctx.batches(index)])
    real = CondensedSet(images, ctx.train.labels[index])
    return with_assigned_labels(real, [kind], ctx).privileged[0].as_values()


def _transfer(values: Tensor, labels: Tensor, reference: Reference) -> float:
    return centroid_transfer(values, labels, reference.probed, reference.probed_labels)


def _class_means(flat: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The classes present, ascending, and the mean label of each."""
    classes = labels.unique()
    return classes, torch.stack([flat[labels == label].mean(0) for label in classes])


def _positive(scatter: float, flat: Tensor) -> bool:
    """Whether a sum of squares is more than rounding leaves of nothing."""
    return scatter > 1e-20 * max(float(flat.square().sum()), 1e-300)


def _flat(values: Tensor) -> Tensor:
    return values.flatten(1).double()
