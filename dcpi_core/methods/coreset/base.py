"""Coreset selection: one rule picks images of each class; everything else is shared here."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context, Metrics
from dcpi_core.ops.last_layer import OuterProducts, last_layer_gradients
from dcpi_core.ops.validation_gain import Validation
from dcpi_core.prepared import TrainedNetwork, TrainingPlan
from dcpi_core.spec.base import Options
from dcpi_core.spec.errors import TrainingDiverged
from dcpi_core.training import predict

HELD_OUT_SHARE = 10  # one image in so many is held out, where a rule validates
HELD_OUT_MOST = 5000  # images in all


class ProxyOptions(Options):
    """The network whose view of the data a rule selects by."""

    proxy_epochs: int = Field(10, ge=1, le=200, description="epochs of the proxy on the real data")
    proxy_min_steps: int = Field(
        500, ge=0, le=100_000, description="train small datasets at least this many steps"
    )


class EarlyScoreOptions(ProxyOptions):
    """A proxy for scores of early epochs, of which the first does not count."""

    proxy_epochs: int = Field(10, ge=2, le=200, description="epochs of the proxy on the real data")


Space = Literal["gradients", "features"]
"""What images are compared by."""


class SimilarityOptions(ProxyOptions):
    """A proxy and what images are compared by."""

    space: Space = Field(
        "gradients", description="compare gradients of the proxy's last layer, or its features"
    )


class Outputs(NamedTuple):
    """What the proxy makes of n images.

    Attributes:
        features: (n, D) flattened features of the last block.
        inputs: (n, E) what the last linear layer reads; the features, in most networks.
        logits: (n, K).
    """

    features: Tensor
    inputs: Tensor
    logits: Tensor


@dataclass(frozen=True)
class ClassSignals:
    """What a rule may know about the n images of one class; unneeded signals are None.

    Attributes:
        label: the class.
        features: (n, D) flattened features of the proxy's last block.
        inputs: (n, E) what the proxy's last linear layer reads.
        logits: (n, K) of the proxy.
        forgetting: (n,) forgetting events during the proxy's training.
        learned: (n,) whether the proxy ever classified the image correctly.
        el2n: (n,) length of the error in early epochs.
        grand: (n,) length of the last layer's gradient in early epochs.
        validation: images of all classes held out of the selection, to validate on.
        held_out: (n,) which images of this class are among them.
    """

    size: int
    label: int = 0
    features: Tensor | None = None
    inputs: Tensor | None = None
    logits: Tensor | None = None
    forgetting: Tensor | None = None
    learned: Tensor | None = None
    el2n: Tensor | None = None
    grand: Tensor | None = None
    validation: Validation | None = None
    held_out: Tensor | None = None

    @property
    def labels(self) -> Tensor:
        """The label of every image, (n,)."""
        return torch.full((self.size,), self.label)

    def gradients(self) -> OuterProducts:
        """Gradients of the proxy's last layer, to a common scale that keeps squares in range."""
        assert self.logits is not None
        assert self.inputs is not None
        found = last_layer_gradients(self.logits, self.labels, self.inputs)
        largest = found.left.abs().max()
        scale = torch.where(largest > 0, largest, 1)
        return OuterProducts(found.left / scale, found.right)

    def vectors(self, space: Space) -> OuterProducts:
        """What images are compared by."""
        if space == "gradients":
            return self.gradients()
        assert self.features is not None
        return OuterProducts(self.features.new_ones(self.size, 1), self.features)


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
    uses_logits = False
    uses_training = False
    uses_validation = False

    def __init__(self, options: ProxyOptions | Options) -> None:
        self.options = options
        self._validated: dict[str, tuple[Validation, Tensor]] = {}

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
        order = self.pick(self._signals(members, number, ctx), ctx.images_per_class, generator)
        state.picked = torch.cat([state.picked, members[order]])
        return {"selected": float(len(state.picked))}

    def finish(self, state: SelectionState, ctx: Context) -> CondensedSet:
        return CondensedSet(
            images=ctx.normalised(state.picked).cpu(),
            labels=ctx.train.labels[state.picked],
            source_indices=state.picked,
        )

    def _signals(self, members: Tensor, label: int, ctx: Context) -> ClassSignals:
        plans = self.needs(ctx)
        if not plans:
            return ClassSignals(len(members), label)
        proxy = ctx.trained_network(plans[0])
        found: dict[str, Any] = {}
        if self.uses_features or self.uses_logits:
            found |= outputs(proxy, members, ctx)._asdict()
        if self.uses_training:
            observed = ("forgetting", "learned", "el2n", "grand")
            found |= {name: getattr(proxy, name)[members] for name in observed}
        if self.uses_validation:
            found["validation"], held_out = self._validation(proxy, ctx)
            found["held_out"] = held_out[members]
        return ClassSignals(len(members), label, **found)

    def _validation(self, proxy: TrainedNetwork, ctx: Context) -> tuple[Validation, Tensor]:
        """Images to validate on and, over the training split, which are held out for it.

        Kept between the classes: it is the same for all of them, and made again after a restart.
        """
        key = proxy.plan.digest(ctx.facts.fingerprint)
        if key not in self._validated:
            held_out = hold_out(ctx)
            # Classes of a few images spare none: then the loss on all of them is what counts.
            chosen = held_out if bool(held_out.any()) else torch.ones_like(held_out)
            index = chosen.nonzero().squeeze(1)
            made = outputs(proxy, index, ctx)
            validation = Validation(made.logits, ctx.train.labels[index], made.inputs)
            self._validated = {key: (validation, held_out)}
        return self._validated[key]


class ScoreRule(Coreset):
    """A rule that scores each image by itself and keeps the highest."""

    @abstractmethod
    def score(self, signals: ClassSignals) -> Tensor:
        """(n,): the higher, the sooner it is picked."""

    def pick(self, signals: ClassSignals, count: int, generator: torch.Generator) -> Tensor:
        return torch.argsort(self.score(signals), descending=True, stable=True)[:count]


@torch.no_grad()
def outputs(proxy: TrainedNetwork, index: Tensor, ctx: Context) -> Outputs:
    """What the proxy makes of the training images at ``index``, on the CPU.

    Raises:
        TrainingDiverged: the proxy says something that is not a number.
    """
    network = proxy.network(ctx.facts, ctx.runtime)
    batches = predict(network, ctx.batches(index), ctx.runtime)
    parts = [(found.flatten(1).cpu(), logits.cpu()) for found, logits in batches]
    features = torch.cat([found for found, _ in parts])
    # In most networks the very same tensor: nothing is copied.
    inputs = network.cpu().last_inputs(features)
    made = Outputs(features, inputs, torch.cat([logits for _, logits in parts]))
    if not all(bool(tensor.isfinite().all()) for tensor in made):
        raise TrainingDiverged(f"training of the proxy {proxy.plan.network} diverged")
    return made


def hold_out(ctx: Context) -> Tensor:
    """(N,) which training images are held out: a tenth of each class, drawn by the job's seed."""
    mask = torch.zeros(len(ctx.train), dtype=torch.bool)
    most = max(1, HELD_OUT_MOST // ctx.facts.num_classes)
    for label in range(ctx.facts.num_classes):
        members = ctx.train.of_class(label)
        draw = ctx.streams.generator("validation", label)
        order = torch.randperm(len(members), generator=draw)
        mask[members[order[: min(most, len(members) // HELD_OUT_SHARE)]]] = True
    return mask
