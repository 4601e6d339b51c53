"""Whether training on a condensed set goes where real data would send it (the paper's Figure 1c).

Along a student's training, the gradient on the condensed set, with its privileged labels and
without them, is compared with the gradient of the cross entropy on real images at the same
weights. The figure does not say which student it follows, so both are: one that learns from the
labels, and one that does not.

Only the extractor's gradients are compared: the regression gives the classifier none. Batch norm
goes by its running statistics in a look, and does not change them: the student is only watched.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context
from dcpi_core.networks import Network
from dcpi_core.rng import Streams
from dcpi_core.spec.controls import (
    ALIGNMENT_EPOCHS,
    ALIGNMENT_IMAGES,
    ALIGNMENT_STEPS,
    ALIGNMENT_STUDENTS,
)
from dcpi_core.spec.report import GradientAlignment
from dcpi_core.training import Recipe, fit, gradients


def gradient_alignment(
    shipped: CondensedSet,
    recipe: Recipe,
    ctx: Context,
    after_step: Callable[[int, int], None] | None = None,
) -> list[GradientAlignment]:
    """Cosines along students trained on the shipped set, and along students without its labels.

    Args:
        shipped: with privileged labels.
        recipe: of the job's students; at most ``ALIGNMENT_EPOCHS`` epochs of it are trained.
        after_step: called after each optimiser step; may raise to stop.
    """
    recipe = replace(recipe, epochs=min(recipe.epochs, ALIGNMENT_EPOCHS))
    found: list[GradientAlignment] = []
    for follows, trained_on in (("base", shipped.with_privileged()), ("privileged", shipped)):
        students = []
        for number in range(ALIGNMENT_STUDENTS):
            watcher = _Watcher(shipped, ctx, number)
            watcher.follow(trained_on, recipe, after_step)
            students.append(watcher.cosines)
        means = torch.tensor(students, dtype=torch.float64).mean(0)
        found.append(
            GradientAlignment(
                follows=follows,
                students=ALIGNMENT_STUDENTS,
                steps=tuple(watcher.steps),
                base=tuple(means[:, 0].tolist()),
                privileged=tuple(means[:, 1].tolist()),
            )
        )
    return found


class _Watcher:
    """One student, and the cosines seen along its training."""

    def __init__(self, shipped: CondensedSet, ctx: Context, number: int) -> None:
        self.ctx = ctx
        self.streams: Streams = ctx.streams.child("alignment", number)
        self.network: Network = ctx.fresh_network("alignment", number)
        self.sets = (shipped.with_privileged().as_seen(), shipped.as_seen())
        self.real = _real_set(ctx, number)
        self.steps: list[int] = []
        self.cosines: list[tuple[float, float]] = []

    def follow(
        self,
        trained_on: CondensedSet,
        recipe: Recipe,
        after_step: Callable[[int, int], None] | None,
    ) -> None:
        """Train the student and look at it at the steps of interest."""

        def on_step(step: int, total: int) -> None:
            if after_step is not None:
                after_step(step, total)
            if step in ALIGNMENT_STEPS:
                self._look(step)

        self._look(0)
        streams, runtime = self.streams, self.ctx.runtime
        fit(self.network, trained_on, recipe, streams=streams, runtime=runtime, on_step=on_step)

    def _look(self, step: int) -> None:
        training = self.network.training
        self.network.eval()
        wanted = self._gradient(self.real)
        base, privileged = (self._gradient(own) for own in self.sets)
        self.network.train(training)
        self.steps.append(step)
        self.cosines.append((_cosine(base, wanted), _cosine(privileged, wanted)))

    def _gradient(self, condensed: CondensedSet) -> Tensor:
        """Gradient of the objective on a whole set for the extractor's parameters, flat."""
        device = self.ctx.runtime.device
        draw = self.streams.generator("labels")
        labels = [
            own.to(device).for_student(self.network, self.streams).for_batch(draw)
            for own in condensed.privileged
        ]
        images, classes = condensed.images.to(device), condensed.labels.to(device)
        runtime = self.ctx.runtime.for_whole_sets
        found, _ = gradients(self.network, images, classes, runtime, labels)
        count = len(list(self.network.blocks.parameters()))
        return torch.cat([own.flatten() for own in found[:count]]).double()


def _real_set(ctx: Context, number: int) -> CondensedSet:
    """Real images with hard labels, balanced."""
    num_classes = ctx.facts.num_classes
    per_class = -(-ALIGNMENT_IMAGES // num_classes)
    batches = [ctx.real_batch(label, per_class, number) for label in range(num_classes)]
    labels = torch.arange(num_classes).repeat_interleave(torch.tensor([len(b) for b in batches]))
    return CondensedSet(torch.cat(batches), labels)


def _cosine(first: Tensor, second: Tensor) -> float:
    return float(F.cosine_similarity(first, second, dim=0))
