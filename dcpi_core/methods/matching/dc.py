"""DC: dataset condensation with gradient matching (Zhao, Mopuri, Bilen; ICLR 2021).

Published code updates the images once more after evaluating them; here the images that are
evaluated are the images that are saved.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context, Metrics
from dcpi_core.matching import (
    PUBLISHED_LOOPS,
    LoopOptions,
    freeze_batch_norm,
    match_images,
    network_state,
    real_gradients,
    train_between_updates,
)
from dcpi_core.networks import Network
from dcpi_core.prepared import TrainingPlan
from dcpi_core.registry import METHODS


class DCOptions(LoopOptions):
    """Gradient matching with the published defaults."""

    image_learning_rate: float = Field(0.1, gt=0, le=100)
    image_momentum: float = Field(0.5, ge=0, lt=1)
    init: Literal["noise", "real"] = Field("noise", description="what the images start from")


@dataclass
class DCState:
    """Images, their momentum, and the current network while it is being trained."""

    images: Tensor
    velocity: Tensor
    network: dict[str, Tensor]


@METHODS.register(
    "dc",
    options=DCOptions,
    source="Zhao, Mopuri, Bilen, ICLR 2021 (arXiv 2006.05929)",
    presets=PUBLISHED_LOOPS,
)
class GradientMatching:
    """Learns images whose training gradients match, class by class, those of the real data."""

    state_type = DCState

    def __init__(self, options: DCOptions) -> None:
        self.options = options

    def needs(self, ctx: Context) -> list[TrainingPlan]:
        return []

    def total_steps(self, ctx: Context) -> int:
        return self.options.iterations * self.options.outer_loops

    def init(self, ctx: Context) -> DCState:
        labels, facts = ctx.hard_labels(), ctx.facts
        if self.options.init == "real":
            images = torch.cat(
                [
                    ctx.real_batch(label, ctx.images_per_class, -1)
                    for label in range(facts.num_classes)
                ]
            )
        else:
            shape = (len(labels), facts.channels, facts.height, facts.width)
            images = torch.randn(shape, generator=ctx.streams.generator("noise_images"))
        return DCState(images.cpu(), torch.zeros_like(images, device="cpu"), {})

    def step(self, state: DCState, number: int, ctx: Context) -> Metrics:
        iteration, update = self.options.position(number)
        network = ctx.fresh_network("network", iteration)
        if update:
            network.load_state_dict(state.network)
        freeze_batch_norm(network, number, ctx)
        loss = self._update_images(state, network, number, ctx)
        if update < self.options.outer_loops - 1:
            condensed = CondensedSet(state.images, ctx.hard_labels())
            streams = ctx.streams.child("inner", number)
            train_between_updates(network, condensed, self.options, streams, ctx.runtime)
            state.network = network_state(network)
        else:
            state.network = {}
        return {"loss": loss}

    def finish(self, state: DCState, ctx: Context) -> CondensedSet:
        return CondensedSet(images=state.images.cpu(), labels=ctx.hard_labels())

    def _update_images(self, state: DCState, network: Network, number: int, ctx: Context) -> float:
        per_class, options = ctx.images_per_class, self.options
        own = state.images.to(ctx.runtime.device).split(per_class)

        def match(label: int) -> tuple[Tensor, Tensor]:
            real = real_gradients(network, label, number, options.real_batch, ctx)
            return match_images(network, own[label], label, real)

        found = ctx.runtime.map(match, range(ctx.facts.num_classes))
        gradient = torch.cat([image_gradient for _, image_gradient in found]).cpu()
        state.velocity = options.image_momentum * state.velocity + gradient
        state.images = state.images - options.image_learning_rate * state.velocity
        return float(torch.stack([distance for distance, _ in found]).sum())
