"""A pool of networks trained on the real data beforehand, each with its weights before and after.

The networks are prepared assets: a second job on the same data finds them ready.
"""

from typing import NamedTuple

import torch
from pydantic import Field

from dcpi_core.context import Context
from dcpi_core.networks import Network
from dcpi_core.real_training import TrainingPlan
from dcpi_core.spec.base import Options

BATCH = 128

RATE_FALLS_AT = (2 / 3, 5 / 6)
"""Shares of the training after which its learning rate falls to a fifth, as published."""


class PoolOptions(Options):
    """How many networks there are and for how long they are trained."""

    pool_networks: int = Field(20, ge=1, le=1000, description="networks trained beforehand")
    pool_epochs: int = Field(60, ge=1, le=500, description="epochs of each on the real data")

    def plans(self, ctx: Context) -> list[TrainingPlan]:
        """How the networks are trained: batches of 128, momentum 0.9, weight decay 5e-4."""
        return [
            TrainingPlan(
                network=ctx.network,
                epochs=self.pool_epochs,
                batch_size=BATCH,
                seed=ctx.streams.seed,
                member=member,
                falls=RATE_FALLS_AT,
                augmentation="colour_crop",
            )
            for member in range(self.pool_networks)
        ]


class Pair(NamedTuple):
    """A trained network, and one on the straight line from its initialisation to it."""

    trained: Network
    between: Network


def draw_pair(options: PoolOptions, number: int, ctx: Context) -> Pair:
    """A network of the pool and a place on its line, both uniform; they are not to be trained."""
    draw = ctx.streams.generator("pool", number)
    plans = options.plans(ctx)
    found = ctx.trained_network(plans[int(torch.randint(len(plans), (), generator=draw))])
    share = float(torch.rand((), generator=draw))
    trained = found.network(ctx.facts, ctx.runtime)
    between = found.untrained(ctx.facts, ctx.runtime)
    start, end = between.state_dict(), trained.state_dict()
    between.load_state_dict(
        {
            # Counters of batch norm are whole numbers, and never between.
            name: torch.lerp(end[name], start[name], share) if value.is_floating_point() else value
            for name, value in end.items()
        }
    )
    return Pair(trained.requires_grad_(False), between.requires_grad_(False))
