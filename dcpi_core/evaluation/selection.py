"""What a coreset rule chose: which images, what stands next to each, how they cover the source.

Distances are Euclidean, within a class, in what the rule goes by: the features of its proxy, or
pixels where it asks no proxy. How small they should be, random choices of as many images say.
"""

from collections.abc import Callable, Sequence
from statistics import fmean

import torch
from torch import Tensor

from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context
from dcpi_core.ops.coverage import Coverage, coverage, nearest_of
from dcpi_core.real_training import TrainingPlan
from dcpi_core.spec.report import Distances, Selection

RANDOM_CHOICES = 5
"""Random choices that a selection's distances are compared with."""

Rows = Callable[[Tensor], Tensor]
"""What training images at an index (n,) are compared by, (n, d) float32."""


def describe_selection(
    condensed: CondensedSet, plans: Sequence[TrainingPlan], ctx: Context
) -> Selection | None:
    """What was chosen; None if the images were made, not chosen.

    Args:
        condensed: the set as its base method left it.
        plans: networks that the base method asked for; the first is what the images are seen with.
    """
    chosen = condensed.source_indices
    if chosen is None:
        return None
    rows = _rows(plans, ctx)
    found = _Found(chosen, ctx)
    for label in range(ctx.facts.num_classes):
        found.add(label, rows)
    return Selection(
        space=f"features of {plans[0].network}" if plans else "pixels",
        source_indices=tuple(chosen.tolist()),
        stands_for=tuple(found.stands_for.tolist()),
        neighbours=tuple(None if index < 0 else index for index in found.neighbours.tolist()),
        neighbour_distances=tuple(
            None if index < 0 else distance
            for index, distance in zip(found.neighbours.tolist(), found.apart.tolist(), strict=True)
        ),
        distances=_summary([torch.cat(found.own)]),
        random_distances=_summary([torch.cat(draw) for draw in found.random]),
        empty_classes=tuple(found.empty),
    )


def notes_on(selection: Selection | None, classes: Sequence[str]) -> list[str]:
    """What a reader must know of a choice before using it."""
    if selection is None or not selection.empty_classes:
        return []
    named = ", ".join(classes[label] for label in selection.empty_classes)
    return [f"The free choice left these classes without an image: {named}."]


def neighbour_images(selection: Selection, condensed: CondensedSet, ctx: Context) -> Tensor | None:
    """(n, C, H, W) the nearest unchosen neighbour of each image of the set, normalised.

    None where the set no longer holds the images that were chosen, or all of a class were.
    """
    index = [neighbour for neighbour in selection.neighbours if neighbour is not None]
    if condensed.source_indices is None or len(index) < len(condensed):
        return None
    return ctx.normalised(torch.tensor(index)).cpu()


class _Found:
    """What is known of the chosen images, filled in class by class."""

    def __init__(self, chosen: Tensor, ctx: Context) -> None:
        self.chosen, self.ctx = chosen, ctx
        self.stands_for = torch.zeros(len(chosen), dtype=torch.int64)
        self.neighbours = torch.full((len(chosen),), -1)
        self.apart = torch.zeros(len(chosen))
        self.own: list[Tensor] = []
        self.random: list[list[Tensor]] = [[] for _ in range(RANDOM_CHOICES)]
        self.empty: list[int] = []

    def add(self, label: int, rows: Rows) -> None:
        """Look at one class; those without a chosen image have no distances."""
        here = (self.ctx.train.labels[self.chosen] == label).nonzero().squeeze(1)
        if not len(here):
            self.empty.append(label)
            return
        members = self.ctx.train.of_class(label)
        seen = rows(members)
        self._note(here, members, coverage(seen, torch.searchsorted(members, self.chosen[here])))
        for number, distances in enumerate(self.random):
            draw = self.ctx.streams.generator("random_coverage", number, label)
            drawn = torch.randperm(len(members), generator=draw)[: len(here)]
            distances.append(nearest_of(seen, drawn)[1])

    def _note(self, here: Tensor, members: Tensor, found: Coverage) -> None:
        self.stands_for[here] = found.nearest_chosen.bincount(minlength=len(here))
        self.own.append(found.to_chosen)
        if len(found.nearest_other):
            self.neighbours[here] = members[found.nearest_other]
            self.apart[here] = found.to_other


def _rows(plans: Sequence[TrainingPlan], ctx: Context) -> Rows:
    if not plans:
        return lambda index: ctx.normalised(index).flatten(1).cpu()
    signals = ctx.signals(plans[0])
    return lambda index: signals.at(index).features


def _summary(choices: Sequence[Tensor]) -> Distances:
    """Mean over the choices of each one's mean and largest distance."""
    return Distances(
        mean=fmean(float(each.mean()) for each in choices),
        largest=fmean(float(each.max()) for each in choices),
    )
