"""Gradient matching: the procedure of DC, and of DSA, which adds augmentation.

For each of ``iterations`` fresh networks, ``outer_loops`` updates of the images; between two
updates the network is trained on the images for ``inner_epochs``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dcpi_core.compute import sent
from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context, Metrics
from dcpi_core.matching import (
    LoopOptions,
    freeze_batch_norm,
    match_images,
    network_state,
    real_gradients,
    train_between_updates,
)
from dcpi_core.methods.matching.base.images import (
    ImageOptions,
    ImageState,
    descend,
    draw_for,
    initial_images,
)
from dcpi_core.networks import Network
from dcpi_core.ops.siamese import Draw
from dcpi_core.real_training import TrainingPlan
from dcpi_core.spec.protocols import Augmentation


class GradientMatchingOptions(ImageOptions, LoopOptions):
    """The published loops, and how the images move."""


@dataclass
class GradientMatchingState(ImageState):
    """Images, their momentum, and the current network while it is being trained."""

    network: dict[str, Tensor]


class GradientMatching:
    """Images whose gradients match those of real ones, class by class."""

    state_type = GradientMatchingState

    def __init__(
        self, options: GradientMatchingOptions, augmentation: Augmentation = "none"
    ) -> None:
        self.options = options
        self.augmentation = augmentation

    def needs(self, ctx: Context) -> list[TrainingPlan]:
        return []

    def total_steps(self, ctx: Context) -> int:
        return self.options.iterations * self.options.outer_loops

    def init(self, ctx: Context) -> GradientMatchingState:
        images = initial_images(self.options.init, ctx)
        return GradientMatchingState(images, torch.zeros_like(images), {})

    def step(self, state: GradientMatchingState, number: int, ctx: Context) -> Metrics:
        iteration, update = self.options.position(number)
        network = ctx.fresh_network("network", iteration)
        if update:
            network.load_state_dict(state.network)
        freeze_batch_norm(network, number, ctx)
        loss, gradient = self.image_gradient(state.images, network, number, ctx)
        descend(state, gradient, self.options)
        if update < self.options.outer_loops - 1:
            condensed = CondensedSet(state.images, ctx.hard_labels())
            streams = ctx.streams.child("inner", number)
            train_between_updates(
                network, condensed, self.options, streams, ctx.runtime, self.augmentation
            )
            state.network = network_state(network)
        else:
            state.network = {}
        return {"loss": loss}

    def finish(self, state: GradientMatchingState, ctx: Context) -> CondensedSet:
        return CondensedSet(images=state.images.cpu(), labels=ctx.hard_labels())

    def image_gradient(
        self, images: Tensor, network: Network, number: int, ctx: Context
    ) -> tuple[float, Tensor]:
        """The distance, summed over the classes, and its gradient for all images."""
        own = sent(images, ctx.runtime.device).split(ctx.images_per_class)

        def match(label: int) -> tuple[Tensor, Tensor]:
            draw = draw_for(self.augmentation, label, number, ctx)
            real = real_gradients(network, label, number, self.options.real_batch, ctx, draw)
            return match_seen(network, own[label], label, real, draw)

        found = ctx.runtime.map(match, range(ctx.facts.num_classes))
        loss = torch.stack([distance for distance, _ in found]).sum()
        return float(loss), torch.cat([gradient for _, gradient in found])


def match_seen(
    network: Network, images: Tensor, label: int, real: list[Tensor], draw: Draw | None
) -> tuple[Tensor, Tensor]:
    """``match_images`` for images that are seen through an augmentation.

    The gradient at the augmented images is carried back through the augmentation, which is affine,
    so nothing has to be differentiated twice there.
    """
    if draw is None:
        return match_images(network, images, label, real)
    images = images.detach().requires_grad_()
    seen = draw.apply(images)
    distance, at_seen = match_images(network, seen, label, real)
    (gradient,) = torch.autograd.grad(seen, images, at_seen)
    return distance, gradient
