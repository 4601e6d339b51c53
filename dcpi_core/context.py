"""What a method or a privileged type may see while it works. There is no handle to test data."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dcpi_core.compute import Runtime, sent
from dcpi_core.datasets.base import Split, normalise
from dcpi_core.networks import Network, build
from dcpi_core.prepared import Assets
from dcpi_core.real_training import TrainedNetwork, TrainingPlan
from dcpi_core.rng import Streams
from dcpi_core.signals import Signals
from dcpi_core.spec.dataset import DatasetFacts

Metrics = dict[str, float]
"""Named numbers that a step reports."""


def _no_progress(step: int, total: int, what: str) -> None:
    pass


@dataclass(frozen=True)
class Context:
    """The training data, the budget and the tools of one job.

    Attributes:
        train: the source's training split, uint8.
        network: name of the network used for condensing.
        streams: all randomness comes from here.
        on_prepare: progress of long preparations; raises to stop them.
    """

    train: Split
    facts: DatasetFacts
    images_per_class: int
    network: str
    streams: Streams
    runtime: Runtime
    assets: Assets
    on_prepare: Callable[[int, int, str], None] = field(default=_no_progress)

    def fresh_network(self, purpose: str, *position: int) -> Network:
        """A newly initialised network, determined by the job's seed, purpose and position."""
        facts = self.facts
        with self.streams.initialisation(purpose, *position):
            network = build(
                self.network, facts.channels, facts.num_classes, (facts.height, facts.width)
            )
        return network.to(self.runtime.device, non_blocking=True)

    def real_batch(self, label: int, count: int, *position: int) -> Tensor:
        """Up to ``count`` different normalised images of a class, (n, C, H, W)."""
        members = self.train.of_class(label)
        draw = self.streams.generator("real_batch", label, *position)
        order = torch.randperm(len(members), generator=draw)[:count]
        return self.normalised(members[order])

    def normalised(self, index: Tensor) -> Tensor:
        """The training images at ``index``, normalised, on the device."""
        # Sent as bytes: a quarter of what the normalised images would be.
        return normalise(sent(self.train.images[index], self.runtime.device), self.facts)

    def batches(self, index: Tensor, size: int = 1024) -> Iterator[Tensor]:
        """The training images at ``index``, normalised, in order, ``size`` at a time."""
        for part in index.split(size):
            yield self.normalised(part)

    def trained_network(self, plan: TrainingPlan) -> TrainedNetwork:
        """A network trained on the real training data, from the store of prepared assets."""
        return self.assets.trained_network(
            plan, self.train, self.facts, self.runtime, self.on_prepare
        )

    def signals(self, plan: TrainingPlan) -> Signals:
        """What that network says of every training image, from the store of prepared assets."""
        return self.assets.signals(plan, self.train, self.facts, self.runtime, self.on_prepare)

    def hard_labels(self) -> Tensor:
        """Labels of a condensed set of this budget, class-contiguous, (n,)."""
        classes = torch.arange(self.facts.num_classes)
        return classes.repeat_interleave(self.images_per_class)
