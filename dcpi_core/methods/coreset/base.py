"""Coreset selection: one rule picks images of each class; everything else is shared here."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context, Metrics
from dcpi_core.prepared import TrainingPlan
from dcpi_core.spec.base import Options
from dcpi_core.training import predict


class ProxyOptions(Options):
    """The network whose view of the data a rule selects by."""

    proxy_epochs: int = Field(10, ge=1, le=200, description="epochs of the proxy on the real data")
    proxy_min_steps: int = Field(
        500, ge=0, le=100_000, description="train small datasets at least this many steps"
    )


@dataclass(frozen=True)
class ClassSignals:
    """What a rule may know about the n images of one class; unneeded signals are None.

    Attributes:
        features: (n, D) flattened features of the proxy's last block.
        forgetting: (n,) forgetting events during the proxy's training.
        learned: (n,) whether the proxy ever classified the image correctly.
    """

    size: int
    features: Tensor | None = None
    forgetting: Tensor | None = None
    learned: Tensor | None = None


@dataclass
class SelectionState:
    """Positions in the training split picked so far, in class order."""

    picked: Tensor


class Coreset(ABC):
    """A selection rule as a base method: one step per class.

    Rules keep their greedy order, so a smaller coreset is a prefix of a larger one; ties go to
    the lower index.
    """

    state_type = SelectionState
    uses_features = False
    uses_training = False

    def __init__(self, options: ProxyOptions | Options) -> None:
        self.options = options

    @abstractmethod
    def pick(self, signals: ClassSignals, count: int, generator: torch.Generator) -> Tensor:
        """Positions (within the class) of ``count`` images, in the order they were picked."""

    def needs(self, ctx: Context) -> list[TrainingPlan]:
        if not isinstance(self.options, ProxyOptions):
            return []
        return [
            TrainingPlan(
                network=ctx.network,
                epochs=self.options.proxy_epochs,
                min_steps=self.options.proxy_min_steps,
                seed=ctx.streams.seed,
            )
        ]

    def total_steps(self, ctx: Context) -> int:
        return ctx.facts.num_classes

    def init(self, ctx: Context) -> SelectionState:
        return SelectionState(torch.empty(0, dtype=torch.int64))

    def step(self, state: SelectionState, number: int, ctx: Context) -> Metrics:
        members = ctx.train.of_class(number)
        generator = ctx.streams.generator("selection", number)
        order = self.pick(self._signals(members, ctx), ctx.images_per_class, generator)
        state.picked = torch.cat([state.picked, members[order]])
        return {"selected": float(len(state.picked))}

    def finish(self, state: SelectionState, ctx: Context) -> CondensedSet:
        return CondensedSet(
            images=ctx.normalised(state.picked).cpu(),
            labels=ctx.train.labels[state.picked],
            source_indices=state.picked,
        )

    def _signals(self, members: Tensor, ctx: Context) -> ClassSignals:
        plans = self.needs(ctx)
        if not plans:
            return ClassSignals(len(members))
        proxy = ctx.trained_network(plans[0])
        features = None
        if self.uses_features:
            network = proxy.network(ctx.facts, ctx.runtime)
            batches = predict(network, ctx.batches(members), ctx.runtime)
            features = torch.cat([found.flatten(1).cpu() for found, _ in batches])
        return ClassSignals(
            len(members),
            features=features,
            forgetting=proxy.forgetting[members] if self.uses_training else None,
            learned=proxy.learned[members] if self.uses_training else None,
        )
