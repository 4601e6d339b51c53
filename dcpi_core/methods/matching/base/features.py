"""Feature matching: bring class means of what a random network makes of the images together.

The procedure of DM and its successors: every step takes a fresh network, shows it real and
synthetic images of each class under the same augmentation, and moves the synthetic ones so that
the class means approach each other. The network is never trained.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from dcpi_core.compute import sent
from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context, Metrics
from dcpi_core.methods.matching.base.images import (
    AugmentedOptions,
    ImageOptions,
    ImageState,
    descend,
    draw_for,
    initial_images,
)
from dcpi_core.networks import Network
from dcpi_core.real_training import TrainingPlan
from dcpi_core.training import has_batch_norm

Representations = list[Tensor]
"""What is compared, one tensor (n, d) for each place in the network."""


class FeatureMatchingOptions(AugmentedOptions, ImageOptions):
    """One step per fresh network."""

    iterations: int = Field(20_000, ge=1, le=200_000, description="fresh networks")
    real_batch: int = Field(256, ge=1, le=8192, description="real images per class and step")


class FeatureMatching(ABC):
    """Images whose class means in the feature space of random networks are those of real ones."""

    state_type = ImageState

    def __init__(self, options: FeatureMatchingOptions) -> None:
        self.options = options

    @abstractmethod
    def represent(self, network: Network, images: Tensor) -> Representations:
        """What of the images (n, C, H, W) is compared; differentiable in them if they need it."""

    def weights(self, places: int) -> Sequence[float]:
        """The share of each representation in the loss."""
        return [1.0] * places

    def needs(self, ctx: Context) -> list[TrainingPlan]:
        return []

    def total_steps(self, ctx: Context) -> int:
        return self.options.iterations

    def init(self, ctx: Context) -> ImageState:
        images = initial_images(self.options.init, ctx)
        return ImageState(images, torch.zeros_like(images))

    def step(self, state: ImageState, number: int, ctx: Context) -> Metrics:
        network = ctx.fresh_network("network", number).requires_grad_(False)
        own = sent(state.images, ctx.runtime.device).split(ctx.images_per_class)
        classes = range(ctx.facts.num_classes)
        # Batch norm takes its statistics over all classes together, as published.
        groups = [list(classes)] if has_batch_norm(network) else [[label] for label in classes]

        def match(labels: list[int]) -> tuple[Tensor, Tensor]:
            draws = [draw_for(self.options.augmentation, label, number, ctx) for label in labels]
            real = [ctx.real_batch(label, self.options.real_batch, number) for label in labels]
            real = [d.apply(x) if d else x for d, x in zip(draws, real, strict=True)]
            synthetic = torch.cat([own[label] for label in labels]).requires_grad_()
            parts = synthetic.split(ctx.images_per_class)
            seen = [d.apply(x) if d else x for d, x in zip(draws, parts, strict=True)]
            loss = self.distance(network, seen, self.real_means(network, real, ctx))
            (gradient,) = torch.autograd.grad(loss, synthetic)
            return loss.detach(), gradient

        found = ctx.runtime.map(match, groups)
        descend(state, torch.cat([gradient for _, gradient in found]), self.options)
        return {"loss": float(torch.stack([loss for loss, _ in found]).sum())}

    def finish(self, state: ImageState, ctx: Context) -> CondensedSet:
        return CondensedSet(images=state.images.cpu(), labels=ctx.hard_labels())

    @torch.no_grad()
    def real_means(
        self, network: Network, batches: Sequence[Tensor], ctx: Context
    ) -> list[Representations]:
        """Means over each batch, by class; a batch alone is passed in pieces."""
        if len(batches) > 1:
            return self._means(network, batches)
        pieces = ctx.runtime.chunks(len(batches[0]))
        parts = [self.represent(network, batches[0][piece]) for piece in pieces]
        return [[torch.cat(same).mean(0) for same in zip(*parts, strict=True)]]

    def distance(
        self, network: Network, batches: Sequence[Tensor], targets: Sequence[Representations]
    ) -> Tensor:
        """Squared distances of the means, summed over dimensions and classes, weighted (scalar).

        Args:
            batches: synthetic images as the network sees them, by class.
            targets: means over real images, by class and place.
        """
        means = self._means(network, batches)
        terms = [
            weight * (synthetic - real).square().sum()
            for own, target in zip(means, targets, strict=True)
            for weight, synthetic, real in zip(self.weights(len(own)), own, target, strict=True)
        ]
        return torch.stack(terms).sum()

    def _means(self, network: Network, batches: Sequence[Tensor]) -> list[Representations]:
        sizes = [len(batch) for batch in batches]
        places = self.represent(network, torch.cat(list(batches)))
        by_class = zip(*(place.split(sizes) for place in places), strict=True)
        return [[part.mean(0) for part in parts] for parts in by_class]
