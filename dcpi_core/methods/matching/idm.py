"""IDM: improved distribution matching (Zhao, Li, Qin, Yu; CVPR 2023).

DM with three changes: a stored image holds four small ones; features come from networks that are
trained on real data meanwhile; and those networks must classify the synthetic images well, the
more so the better they have become.

The published code moves all images after every class, so that momentum carries each class through
the steps of the others; that is kept, because its effect is that of a higher learning rate.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from dcpi_core.compute import sent
from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context, Metrics
from dcpi_core.methods.matching.base import (
    NO_FLIP_FOR_DIGITS,
    AugmentedOptions,
    ImageOptions,
    QueueOptions,
    QueueState,
    accuracy_of,
    count_anew,
    draw_for,
    initial_images,
    initial_tiles,
    network_at,
    push,
    train,
)
from dcpi_core.networks import Network, first_order_features
from dcpi_core.ops.partition import tiles_of
from dcpi_core.ops.siamese import Draw, seen_through
from dcpi_core.real_training import TrainingPlan
from dcpi_core.registry import METHODS
from dcpi_core.spec.catalog import Preset


class IDMOptions(QueueOptions, AugmentedOptions, ImageOptions):
    """The published settings for ten images per class of CIFAR-10."""

    iterations: int = Field(20_000, ge=1, le=200_000, description="updates of the images")
    real_batch: int = Field(256, ge=1, le=8192, description="real images per class and update")
    image_learning_rate: float = Field(0.2, gt=0, le=100)
    init: Literal["noise", "real"] = Field("real", description="what the images start from")
    partition: int = Field(
        2, ge=1, le=4, description="small images along each side of a stored one"
    )
    class_weight: float = Field(
        0.5, ge=0, le=1000, description="of the cross entropy, per per cent of network accuracy"
    )


def _preset(dataset: str | None, at_least: int, at_most: int | None, **options: float) -> Preset:
    return Preset(
        dataset=dataset,
        min_images_per_class=at_least,
        max_images_per_class=at_most,
        options=options,
        source="commands of the published implementation; values between them take the nearest",
    )


WHOLE_CLASS = {"real_batch": 5000, "new_network_every": 5}

PUBLISHED = (
    _preset(None, 1, 4, **WHOLE_CLASS),
    _preset(None, 30, None, class_weight=0.1, accuracy_steps=500),
    _preset("cifar100", 5, 29, class_weight=0.1, training_steps=50),
    _preset("tiny_imagenet", 1, 4, real_batch=256, new_network_every=30),
    _preset("tiny_imagenet", 5, 29, accuracy_steps=500),
    _preset("tiny_imagenet", 30, None, class_weight=0.8, training_steps=50, accuracy_steps=1000),
)
"""Those of CIFAR-10 hold for every dataset that has none of its own."""


@METHODS.register(
    "idm",
    options=IDMOptions,
    source="Zhao, Li, Qin, Yu, CVPR 2023 (arXiv 2307.09742)",
    presets=(*PUBLISHED, *NO_FLIP_FOR_DIGITS),
    facts={"passes": {"real": 1, "synthetic": 3}},
)
class IDM:
    """Matches mean features of networks in training; a stored image holds four small ones."""

    state_type = QueueState

    def __init__(self, options: IDMOptions) -> None:
        self.options = options

    def needs(self, ctx: Context) -> list[TrainingPlan]:
        return []

    def total_steps(self, ctx: Context) -> int:
        return self.options.iterations

    def init(self, ctx: Context) -> QueueState:
        images = self._initial_images(ctx)
        state = QueueState(images, torch.zeros_like(images))
        for position in range(self.options.queue_start):
            network = ctx.fresh_network("queue_start", position)
            push(state, network, self.options.queue_length)
        return state

    def step(self, state: QueueState, number: int, ctx: Context) -> Metrics:
        options = self.options
        if number and number % options.accuracy_steps == 0:
            count_anew(state)
        if number % options.new_network_every == 0:
            push(state, ctx.fresh_network("queue", number), options.queue_length)
        length, choice = len(state.seen), ctx.streams.generator("queue_choice", number)
        index = int(torch.randint(length, (), generator=choice))
        accuracy = accuracy_of(state, index)
        loss = self._update_images(state, index, number, ctx)
        chosen = torch.randperm(length, generator=choice)[: options.networks_trained].tolist()
        train(state, chosen, number, options, ctx)
        return {"loss": loss, "network_accuracy": accuracy}

    def finish(self, state: QueueState, ctx: Context) -> CondensedSet:
        labels = ctx.hard_labels()
        return CondensedSet(state.images.cpu(), labels, partition=self.options.partition)

    def _initial_images(self, ctx: Context) -> Tensor:
        if self.options.init == "noise":
            return initial_images("noise", ctx)
        return initial_tiles(self.options.partition, ctx)

    def _update_images(self, state: QueueState, index: int, number: int, ctx: Context) -> float:
        network = network_at(state, index, ctx).requires_grad_(False).eval()
        weight = self.options.class_weight * 100 * accuracy_of(state, index)
        images = sent(state.images, ctx.runtime.device).split(ctx.images_per_class)
        velocities = sent(state.velocity, ctx.runtime.device).split(ctx.images_per_class)
        classes = range(ctx.facts.num_classes)
        rate, momentum = self.options.image_learning_rate, self.options.image_momentum

        def moved(label: int) -> tuple[Tensor, Tensor, Tensor]:
            own, velocity = coast(images[label], velocities[label], label, rate, momentum)
            draw = draw_for(self.options.augmentation, label, number, ctx)
            target = self._real_mean(network, label, number, draw, ctx)
            loss, gradient = self.class_loss(network, own, label, target, draw, weight)
            velocity = momentum * velocity + gradient
            own = own - rate * velocity
            return loss, *coast(own, velocity, len(classes) - 1 - label, rate, momentum)

        found = ctx.runtime.map(moved, classes)
        state.images = torch.cat([own for _, own, _ in found]).cpu()
        state.velocity = torch.cat([velocity for _, _, velocity in found]).cpu()
        return float(torch.stack([loss for loss, _, _ in found]).sum())

    @torch.no_grad()
    def _real_mean(
        self, network: Network, label: int, number: int, draw: Draw | None, ctx: Context
    ) -> Tensor:
        real = seen_through(ctx.real_batch(label, self.options.real_batch, number), draw)
        pieces = ctx.runtime.chunks(len(real))
        parts = [first_order_features(network, real[piece]).flatten(1) for piece in pieces]
        return torch.cat(parts).mean(0)

    def class_loss(
        self,
        network: Network,
        images: Tensor,
        label: int,
        target: Tensor,
        draw: Draw | None,
        weight: float,
    ) -> tuple[Tensor, Tensor]:
        """Loss of one class (scalar, detached) and its gradient for the stored images.

        Args:
            images: (n, C, H, W), as stored.
            target: mean features of real images, (d,).
            weight: of the cross entropy.
        """
        images = images.detach().requires_grad_()
        seen = seen_through(tiles_of(images, self.options.partition), draw)
        features = network.features(seen)
        loss = (features.flatten(1).mean(0) - target).square().sum()
        if weight:
            labels = torch.full((len(seen),), label, device=seen.device)
            loss = loss + weight * F.cross_entropy(network.classify(features), labels)
        (gradient,) = torch.autograd.grad(loss, images)
        return loss.detach(), gradient


def coast(
    images: Tensor, velocity: Tensor, steps: int, rate: float, momentum: float
) -> tuple[Tensor, Tensor]:
    """``steps`` of SGD with momentum whose gradients are zero, at once.

    Returns:
        The images and velocity after them.
    """
    slowed = momentum**steps
    distance = momentum * (1 - slowed) / (1 - momentum)  # momentum + ... + momentum ** steps
    return images - rate * distance * velocity, slowed * velocity
