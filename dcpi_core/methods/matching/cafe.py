"""CAFE: condensing by aligning features (Wang et al., CVPR 2022).

Mean maps of every layer are matched, and the class means of the synthetic features must classify
real ones. How long a network is used and trained follows from its accuracy on real training images.
The published loops have no bound, and the inner one need not end; here both have one. The published
code carries a tenth of each accuracy into the next one it measures; here every value is its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from dcpi_core.compute import sent
from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context, Metrics
from dcpi_core.matching import (
    freeze_batch_norm,
    labels_of,
    network_state,
    train_between_updates,
)
from dcpi_core.methods.matching.base import (
    GradientMatchingOptions,
    ImageState,
    descend,
    draw_for,
    initial_images,
)
from dcpi_core.networks import Network, taps
from dcpi_core.ops.siamese import Draw, seen_through
from dcpi_core.real_training import TrainingPlan
from dcpi_core.registry import METHODS
from dcpi_core.spec.catalog import Preset
from dcpi_core.training import predict

LOWER, UPPER = 0.1, 1.0
"""Published weights of the lower maps, and of the last map before and after its pooling."""

RATE_HALVES_AT = (0.6, 0.8, 0.9)
"""Shares of the run after which the learning rate of the images is halved."""


class CAFEOptions(GradientMatchingOptions):
    """The published settings, with bounds on both loops."""

    iterations: int = Field(2000, ge=1, le=100_000, description="fresh networks")
    outer_loops: int = Field(30, ge=1, le=1000, description="most updates per network")
    inner_epochs: int = Field(50, ge=0, le=1000, description="most epochs between updates")
    augmentation: Literal["none", "dsa", "dsa_no_flip"] = Field(
        "none", description="dsa for the variant CAFE+DSA"
    )
    discrimination_weight: float = Field(0.01, ge=0, le=100)
    window: int = Field(10, ge=2, le=100, description="accuracies that are looked at together")
    watch_batch: int = Field(128, ge=1, le=8192, description="real images per class to watch")
    settled: float = Field(0.04, ge=0, le=1, description="range at which a network has served")
    learned: float = Field(0.03, ge=0, le=1, description="range at which training was enough")


def _most_updates(at_least: int, at_most: int | None) -> Preset:
    return Preset(
        min_images_per_class=at_least,
        max_images_per_class=at_most,
        options={"outer_loops": 2 * at_least + 10},
        source="our bound: twice the images per class and ten, between these the one below; the "
        "published loop has none",
    )


BOUNDS = tuple(
    _most_updates(low, high)
    for low, high in ((1, 4), (5, 9), (10, 19), (20, 29), (30, 39), (40, 49), (50, None))
)


@dataclass
class CAFEState(ImageState):
    """Images, their momentum, and the current network with its accuracy after each update."""

    network: dict[str, Tensor] = field(default_factory=dict)
    watched: list[float] = field(default_factory=list)


class Target(NamedTuple):
    """What real images of one class give: mean maps, and the features (n, d) of each image."""

    means: list[Tensor]
    features: Tensor


@METHODS.register(
    "cafe",
    options=CAFEOptions,
    source="Wang et al., CVPR 2022 (arXiv 2203.01531)",
    presets=BOUNDS,
    facts={"passes": {"real": 2, "synthetic": 4}},
)
class CAFE:
    """Aligns the mean maps of every layer, and makes synthetic centres classify real features."""

    state_type = CAFEState

    def __init__(self, options: CAFEOptions) -> None:
        self.options = options

    def needs(self, ctx: Context) -> list[TrainingPlan]:
        return []

    def total_steps(self, ctx: Context) -> int:
        return self.options.iterations * self.options.outer_loops

    def init(self, ctx: Context) -> CAFEState:
        images = initial_images(self.options.init, ctx)
        return CAFEState(images, torch.zeros_like(images))

    def step(self, state: CAFEState, number: int, ctx: Context) -> Metrics:
        """One update; nothing where the network has served before its last."""
        iteration, update = self.options.position(number)
        if update == 0:
            state.watched = []
        elif self._has_served(state):
            return {"network_accuracy": state.watched[-1]}
        network = ctx.fresh_network("network", iteration)
        if update:
            network.load_state_dict(state.network)
        freeze_batch_norm(network, number, ctx)
        loss, gradient = self.image_gradient(state.images, network, number, ctx)
        descend(state, gradient, self._options_at(iteration))
        state.watched = [*state.watched, self._accuracy(network, number, 0, ctx)]
        if self._has_served(state) or update == self.options.outer_loops - 1:
            state.network = {}
        else:
            self._train(network, state, number, ctx)
            state.network = network_state(network)
        return {"loss": loss, "network_accuracy": state.watched[-1]}

    def _options_at(self, iteration: int) -> CAFEOptions:
        """The options with the learning rate of the images for this network."""
        halvings = sum(iteration >= share * self.options.iterations for share in RATE_HALVES_AT)
        rate = self.options.image_learning_rate / 2**halvings
        return self.options.model_copy(update={"image_learning_rate": rate})

    def _has_served(self, state: CAFEState) -> bool:
        """Whether the accuracy of the network has settled."""
        spread = spread_of(state.watched, self.options.window)
        return spread is not None and spread < self.options.settled

    def finish(self, state: CAFEState, ctx: Context) -> CondensedSet:
        return CondensedSet(images=state.images.cpu(), labels=ctx.hard_labels())

    def image_gradient(
        self, images: Tensor, network: Network, position: int, ctx: Context
    ) -> tuple[float, Tensor]:
        """The loss over all classes and its gradient for all images."""
        own = sent(images, ctx.runtime.device).split(ctx.images_per_class)
        classes = range(ctx.facts.num_classes)
        draws = [draw_for(self.options.augmentation, label, position, ctx) for label in classes]

        def target_of(label: int) -> Target:
            return self._target(network, label, position, draws[label], ctx)

        @torch.no_grad()
        def centre_of(label: int) -> Tensor:
            return taps(network, seen_through(own[label], draws[label])).features.flatten(1).mean(0)

        targets = ctx.runtime.map(target_of, classes)
        centres = torch.stack(ctx.runtime.map(centre_of, classes))
        discrimination, slopes = discriminate([t.features for t in targets], centres)
        weight = self.options.discrimination_weight

        def moved(label: int) -> tuple[Tensor, Tensor]:
            part = own[label].detach().requires_grad_()
            places = places_of(network, seen_through(part, draws[label]))
            aligned = alignment([place.mean(0) for place in places], targets[label].means)
            # The centre's share of the discrimination, by the chain rule.
            joint = aligned + weight * (slopes[label] * places[-1].mean(0)).sum()
            (gradient,) = torch.autograd.grad(joint, part)
            return aligned.detach(), gradient

        found = ctx.runtime.map(moved, classes)
        loss = torch.stack([aligned for aligned, _ in found]).sum() + weight * discrimination
        return float(loss), torch.cat([gradient for _, gradient in found])

    @torch.no_grad()
    def _target(
        self, network: Network, label: int, position: int, draw: Draw | None, ctx: Context
    ) -> Target:
        real = seen_through(ctx.real_batch(label, self.options.real_batch, position), draw)
        sums, features = list[list[Tensor]](), list[Tensor]()
        for piece in ctx.runtime.chunks(len(real)):
            places = places_of(network, real[piece])
            sums.append([place.sum(0) for place in places])
            features.append(places[-1])
        means = [torch.stack(same).sum(0) / len(real) for same in zip(*sums, strict=True)]
        return Target(means, torch.cat(features))

    def _train(self, network: Network, state: CAFEState, position: int, ctx: Context) -> None:
        """Epochs on the condensed set until the network has learned something, or enough."""
        condensed, watched = CondensedSet(state.images, ctx.hard_labels()), list[float]()
        one_epoch = self.options.model_copy(update={"inner_epochs": 1})
        for epoch in range(self.options.inner_epochs):
            streams = ctx.streams.child("inner", position, epoch)
            train_between_updates(
                network, condensed, one_epoch, streams, ctx.runtime, self.options.augmentation
            )
            watched.append(self._accuracy(network, position, epoch + 1, ctx))
            spread = spread_of(watched, self.options.window)
            if spread is not None and spread > self.options.learned:
                return

    def _accuracy(self, network: Network, position: int, epoch: int, ctx: Context) -> float:
        """Share of random real training images that the network classifies correctly."""
        right = []
        for label in range(ctx.facts.num_classes):
            batch = ctx.real_batch(label, self.options.watch_batch, position, epoch, 1)
            logits = [found for _, found in predict(network, iter([batch]), ctx.runtime)]
            right.append(torch.cat(logits).argmax(1) == label)
        return float(torch.cat(right).double().mean())


def places_of(network: Network, images: Tensor) -> list[Tensor]:
    """Every block's map before its pooling, and the flat features (n, d) as the last."""
    found = taps(network, images)
    return [*(place.flatten(1) for place in found.maps), found.features.flatten(1)]


def alignment(synthetic: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Weighted squared distances of the mean maps of one class, summed (scalar).

    The features count twice, as the published code lists them as a map and as a vector.
    """
    weights = [LOWER] * (len(real) - 2) + [UPPER, 2 * UPPER]
    terms = [
        weight * (a - b).square().sum()
        for weight, a, b in zip(weights, synthetic, real, strict=True)
    ]
    return torch.stack(terms).sum()


def discriminate(features: Sequence[Tensor], centres: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy, summed, of real features classified by their products with the centres.

    Args:
        features: (n, d) of each class.
        centres: mean synthetic features, (K, d).

    Returns:
        The sum (scalar) and its derivative by the centres, (K, d).
    """
    centres = centres.detach().requires_grad_()
    labels = torch.cat([labels_of(label, own) for label, own in enumerate(features)])
    loss = F.cross_entropy(torch.cat(list(features)) @ centres.t(), labels, reduction="sum")
    (slopes,) = torch.autograd.grad(loss, centres)
    return loss.detach(), slopes


def spread_of(values: Sequence[float], window: int) -> float | None:
    """Range of the last ``window`` values; None while there are fewer."""
    last = values[-window:]
    return max(last) - min(last) if len(last) == window else None
