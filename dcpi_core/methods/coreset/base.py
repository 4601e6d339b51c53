"""Coreset selection: one rule picks images; everything else is shared here."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context, Metrics
from dcpi_core.ops.validation_gain import Validation
from dcpi_core.real_training import TrainingPlan
from dcpi_core.rng import Streams
from dcpi_core.signals import Signals, Space
from dcpi_core.spec.base import Options

HELD_OUT_SHARE = 10  # one image in so many is held out, where a rule validates
HELD_OUT_MOST = 5000  # images in all


class CoresetOptions(Options):
    """Among which images a rule chooses."""

    balance: Literal["class", "free"] = Field(
        "class",
        description="class: as many images of each class, chosen within the class; free: the "
        "rule's choice among all images, however many of each class that gives",
    )


class ProxyOptions(CoresetOptions):
    """The network whose view of the data a rule selects by."""

    proxy_epochs: int = Field(10, ge=1, le=200, description="epochs of the proxy on the real data")
    proxy_min_steps: int = Field(
        500, ge=0, le=100_000, description="train small datasets at least this many steps"
    )


class WeightedOptions(ProxyOptions):
    """A proxy, and whether its images are to count as the rule weighs them."""

    weighted: bool = Field(
        False, description="students weigh the loss of each image as the rule weighs the image"
    )


class EarlyScoreOptions(ProxyOptions):
    """A proxy for scores of early epochs, of which the first does not count."""

    proxy_epochs: int = Field(10, ge=2, le=200, description="epochs of the proxy on the real data")


class SimilarityOptions(ProxyOptions):
    """A proxy and what images are compared by."""

    space: Space = Field(
        "gradients", description="compare gradients of the proxy's last layer, or its features"
    )


class Group(NamedTuple):
    """Positions of images, ascending, that are chosen among, and how many are taken."""

    members: Tensor
    wanted: int


@dataclass
class SelectionState:
    """Positions in the training split picked so far: in the order picked, class after class."""

    picked: Tensor


class Coreset(ABC):
    """A selection rule as a base method: one step per class, or a single one for a free choice.

    Rules keep their greedy order, so what is picked of a class for a smaller coreset is a prefix
    of what is picked for a larger one; ties go to the lower index. A rule with ``ProxyOptions``
    gets the signals of a proxy, which is trained once and then shared by all rules and budgets.

    Attributes:
        reads: names of the signals that the rule goes by.
        uses_validation: whether it also wants images to validate on.
    """

    state_type = SelectionState
    reads: tuple[str, ...] = ()
    uses_validation = False

    def __init__(self, options: CoresetOptions) -> None:
        self.options = options
        self._known: dict[str, Signals] = {}

    @abstractmethod
    def pick(self, signals: Signals, count: int, generator: torch.Generator) -> Tensor:
        """Positions (within ``signals``) of ``count`` images, in the order they were picked."""

    def weigh(self, signals: Signals, picked: Tensor) -> Tensor:
        """How much each pick (k,) counts among all n images: not negative, n in all.

        For rules with ``WeightedOptions``, to be asked once the selection is complete: weights
        depend on its size, so they are no property of a prefix.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no weights")

    @property
    def weighted(self) -> bool:
        """Whether the images are to count as the rule weighs them."""
        return isinstance(self.options, WeightedOptions) and self.options.weighted

    def weights(self, signals: Signals, groups: Sequence[Group], picked: Tensor) -> Tensor:
        """(k,) how much each pick counts: mean one, so that the learning rate keeps its meaning.

        Args:
            signals: of all n images.
            groups: those that were chosen among.
            picked: (k,) positions, group after group.
        """
        found, start = [], 0
        for members, count in groups:
            own = torch.searchsorted(members, picked[start : start + count])
            found.append(self.weigh(signals.at(members), own).double())
            start += count
        weights = torch.cat(found)
        return (weights / weights.mean()).float()

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
        return ctx.facts.num_classes if self.options.balance == "class" else 1

    def init(self, ctx: Context) -> SelectionState:
        self._signals(ctx)  # made here and not in the first step, since it may take a while
        return SelectionState(torch.empty(0, dtype=torch.int64))

    def step(self, state: SelectionState, number: int, ctx: Context) -> Metrics:
        members, count = self._group(number, ctx)
        generator = ctx.streams.generator("selection", number)
        order = self.pick(self._signals(ctx).at(members), count, generator)
        state.picked = torch.cat([state.picked, members[order]])
        return {"selected": float(len(state.picked))}

    def finish(self, state: SelectionState, ctx: Context) -> CondensedSet:
        weights = self._weights(state, ctx)
        self._known.clear()  # large, and done with
        return CondensedSet(
            images=ctx.normalised(state.picked).cpu(),
            labels=ctx.train.labels[state.picked],
            source_indices=state.picked,
            weights=weights,
        )

    def _group(self, number: int, ctx: Context) -> Group:
        """What step ``number`` chooses among."""
        if self.options.balance == "class":
            return Group(ctx.train.of_class(number), ctx.images_per_class)
        everything = torch.arange(len(ctx.train))
        return Group(everything, ctx.images_per_class * ctx.facts.num_classes)

    def _weights(self, state: SelectionState, ctx: Context) -> Tensor | None:
        if not self.weighted:
            return None
        groups = [self._group(number, ctx) for number in range(self.total_steps(ctx))]
        return self.weights(self._signals(ctx), groups, state.picked)

    def _signals(self, ctx: Context) -> Signals:
        """Of the whole training split; kept between the steps, each of which needs a part."""
        plans = self.needs(ctx)
        if not plans:
            return Signals.of_labels(ctx.train.labels)
        key = plans[0].digest(ctx.facts.seen_as)
        if key not in self._known:
            found = ctx.signals(plans[0])
            if self.uses_validation:
                found = with_validation(found, ctx.facts.num_classes, ctx.streams)
            self._known = {key: found}
        return self._known[key]


class ScoreRule(Coreset):
    """A rule that scores each image by itself and keeps the highest."""

    @abstractmethod
    def score(self, signals: Signals) -> Tensor:
        """(n,): the higher, the sooner it is picked."""

    def pick(self, signals: Signals, count: int, generator: torch.Generator) -> Tensor:
        return torch.argsort(self.score(signals), descending=True, stable=True)[:count]


def with_validation(signals: Signals, num_classes: int, streams: Streams) -> Signals:
    """The signals with images to validate on: those held out, or all where none can be spared."""
    held_out = hold_out(signals.labels, num_classes, streams)
    chosen = held_out if bool(held_out.any()) else torch.ones_like(held_out)
    there = signals.at(chosen.nonzero().squeeze(1))
    validation = Validation(there.logits, there.labels, there.inputs)
    return replace(signals, validation=validation, held_out=held_out)


def hold_out(labels: Tensor, num_classes: int, streams: Streams) -> Tensor:
    """(N,) which of the images with these labels are held out: a tenth of each class."""
    mask = torch.zeros(len(labels), dtype=torch.bool)
    most = max(1, HELD_OUT_MOST // num_classes)
    for label in range(num_classes):
        members = (labels == label).nonzero().squeeze(1)
        draw = streams.generator("validation", label)
        order = torch.randperm(len(members), generator=draw)
        mask[members[order[: min(most, len(members) // HELD_OUT_SHARE)]]] = True
    return mask
