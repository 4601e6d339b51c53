"""NCFM: neural characteristic function matching (Wang et al., CVPR 2025).

The features of real and synthetic images are compared as whole distributions, by their
characteristic functions, at frequencies that a second network learns to choose where the two differ
most. Features come from networks anywhere between initialised and trained; the trained ones must
also classify the synthetic images. A stored image holds four small ones.

Where paper and published code differ, or the code repeats itself, this is what happens here:

- Frequencies are learned (the paper's method, 1024 of them). The configurations first published
  drew 4096 normal ones: preset ``published_code``. Those published later learn 4096 of which only
  256 differ, each being listed 16 times.
- Real images are drawn anew for every class and step; the published loader gives the first 1024.
- One optimiser moves all images after every class, as the published code does on one GPU: with
  Adam, classes drift on through the steps of the others, which makes a step effectively larger.
  On several GPUs, eight in the published commands, that code has an optimiser for each of them,
  which serves the classes of that GPU alone.
- The pool is trained without CutMix, which the training of prepared networks does not know.
- The plateau schedule belongs to the images alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from dcpi_core.compute import sent
from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context, Metrics
from dcpi_core.datasets.base import denormalise, standardise
from dcpi_core.matching import labels_of, network_state
from dcpi_core.methods.matching.base import PoolOptions, draw_pair, initial_images, initial_tiles
from dcpi_core.networks import Network, first_order_features
from dcpi_core.ops.characteristic import characteristic_distance
from dcpi_core.ops.parameters import on_host
from dcpi_core.ops.partition import tiles_of
from dcpi_core.ops.siamese import Draw, siamese_draw
from dcpi_core.real_training import TrainingPlan
from dcpi_core.registry import METHODS
from dcpi_core.spec.catalog import Preset

SCALE = 300.0
"""The published code multiplies the distance by this."""

AUGMENTATION = ("colour", "crop", "cutout")
"""All three, one after the other; the same for the real and the synthetic images of a class."""

SAMPLER_MOMENTUM = 0.5
FALL, IMPROVEMENT = 0.5, 1e-4
"""Of the plateau schedule: the factor of the rate, and the share by which a loss must be better."""


class NCFMOptions(PoolOptions):
    """The published settings for CIFAR-10."""

    iterations: int = Field(20_000, ge=1, le=200_000, description="networks drawn from the pool")
    real_batch: int = Field(1024, ge=1, le=8192, description="real images per class and iteration")
    init: Literal["noise", "real"] = Field("real", description="what the images start from")
    partition: int = Field(
        2, ge=1, le=4, description="small images along each side of a stored one"
    )
    image_optimiser: Literal["adamw", "sgd"] = "adamw"
    image_learning_rate: float = Field(1e-3, gt=0, le=100)
    image_momentum: float = Field(0.5, ge=0, lt=1, description="of sgd")
    image_weight_decay: float = Field(5e-4, ge=0, le=1, description="of adamw")
    patience: int = Field(
        500, ge=0, le=200_000, description="iterations without progress that halve the rate"
    )
    sampling: Literal["learned", "normal"] = Field(
        "learned", description="frequencies from a network that seeks differences, or normal ones"
    )
    frequencies: int = Field(1024, ge=2, le=65_536, description="for each class and iteration")
    sampling_learning_rate: float = Field(1e-3, gt=0, le=10)
    amplitude_weight: float = Field(0.5, ge=0, le=1, description="of how spread the features are")
    phase_weight: float = Field(0.5, gt=0, le=1, description="of where the features lie")
    class_weight: float = Field(1.0, ge=0, le=1000, description="of the cross entropy")


PUBLISHED = (
    Preset(
        dataset="cifar100",
        min_images_per_class=5,
        max_images_per_class=29,
        options={"image_optimiser": "sgd", "image_learning_rate": 0.01},
        source="configuration published for CIFAR-100 with 10 images per class",
    ),
    Preset(
        name="published_code",
        options={"sampling": "normal", "frequencies": 4096},
        source="configurations first published with the code",
    ),
)


@dataclass
class NCFMState:
    """Images, their optimiser and its rate, and the network that chooses frequencies.

    Attributes:
        images: (n, C, H, W) in [0, 1] but for the last step, on the CPU.
        optimiser: what the optimiser keeps of the images, by its own names.
        rate: learning rate of the images.
        best: lowest loss so far; ``waited`` iterations have passed without a better one.
        sampler: weights of the frequency network, empty if frequencies are not learned.
        sampler_momenta: its optimiser's, by the same names.
    """

    images: Tensor
    optimiser: dict[str, Tensor]
    rate: float
    best: float | None
    waited: int
    sampler: dict[str, Tensor]
    sampler_momenta: dict[str, Tensor]


@METHODS.register(
    "ncfm",
    options=NCFMOptions,
    source="Wang et al., CVPR 2025 (arXiv 2502.20653)",
    presets=PUBLISHED,
    facts={"passes": {"real": 1, "synthetic": 6}},
)
class NCFM:
    """Matches characteristic functions of features; a stored image holds four small ones."""

    state_type = NCFMState

    def __init__(self, options: NCFMOptions) -> None:
        self.options = options

    def needs(self, ctx: Context) -> list[TrainingPlan]:
        return self.options.plans(ctx)

    def total_steps(self, ctx: Context) -> int:
        return self.options.iterations

    def init(self, ctx: Context) -> NCFMState:
        if self.options.init == "real":
            images = denormalise(initial_tiles(self.options.partition, ctx, "nearest"), ctx.facts)
        else:
            images = (initial_images("noise", ctx) / 4 + 0.5).clamp(0, 1)
        sampler = dict[str, Tensor]()
        if self.options.sampling == "learned":
            width = math.prod(ctx.fresh_network("feature_shape").feature_shape())
            with ctx.streams.initialisation("frequency_network"):
                sampler = network_state(frequency_network(width))
        return NCFMState(images, {}, self.options.image_learning_rate, None, 0, sampler, {})

    def step(self, state: NCFMState, number: int, ctx: Context) -> Metrics:
        pair = draw_pair(self.options, number, ctx)
        images = Images(state, self.options, ctx)
        sampler = Sampler(state, self.options, ctx)
        classes = range(ctx.facts.num_classes)
        matching: list[Tensor] = []  # summed at the end: a GPU would have to be waited for at each
        classifying: list[Tensor] = []
        for label in classes:
            draws = draws_for(label, number, 0, ctx)
            real = self._real_features(pair.between, label, number, draws, ctx)
            own = images.of_class(label)
            frequencies = sampler.frequencies(real.shape[1], label, number)
            loss = self.matching_loss(
                pair.between, seen(own, draws, self.options.partition, ctx), real, frequencies
            )
            gradient, *slopes = torch.autograd.grad(loss, [own, *sampler.parameters])
            images.move(label, gradient)
            sampler.climb(slopes)
            matching.append(loss.detach())
        for label in classes:
            own = images.of_class(label)
            draws = draws_for(label, number, 1, ctx)
            shown = seen(own, draws, self.options.partition, ctx)
            loss = self.options.class_weight * classification_loss(pair.trained, shown, label)
            images.move(label, *torch.autograd.grad(loss, own))
            classifying.append(loss.detach())
        images.keep(state)
        sampler.keep(state)
        matched, classified = (float(torch.stack(own).sum()) for own in (matching, classifying))
        wait_or_slow(state, (matched + classified) / len(classes), self.options.patience)
        return {"loss": matched, "classification": classified, "image_rate": state.rate}

    def finish(self, state: NCFMState, ctx: Context) -> CondensedSet:
        images = standardise(state.images.cpu().clamp(0, 1), ctx.facts)
        return CondensedSet(images, ctx.hard_labels(), partition=self.options.partition)

    def matching_loss(
        self, network: Network, images: Tensor, real: Tensor, frequencies: Tensor
    ) -> Tensor:
        """Scaled distance of the characteristic functions of unit features (scalar).

        Args:
            images: synthetic images of one class as the network sees them, (n, C, H, W).
            real: unit features of real images, (m, d).
            frequencies: (k, d).
        """
        own = F.normalize(network.features(images).flatten(1), dim=1)
        weights = (self.options.amplitude_weight, self.options.phase_weight)
        return SCALE * characteristic_distance(own, real, frequencies, *weights)

    def _real_features(
        self, network: Network, label: int, number: int, draws: Sequence[Draw], ctx: Context
    ) -> Tensor:
        """Unit features of a fresh batch of real images, (m, d)."""
        real = changed(ctx.real_batch(label, self.options.real_batch, number), draws)

        @torch.no_grad()
        def of_piece(piece: slice) -> Tensor:
            return F.normalize(first_order_features(network, real[piece]).flatten(1), dim=1)

        return torch.cat(ctx.runtime.map(of_piece, ctx.runtime.chunks(len(real))))


class Images:
    """The images under one optimiser, which moves all of them after every class."""

    def __init__(self, state: NCFMState, options: NCFMOptions, ctx: Context) -> None:
        self.per_class = ctx.images_per_class
        self.tensor = sent(state.images, ctx.runtime.device).clamp(0, 1).requires_grad_()
        if options.image_optimiser == "sgd":
            self.optimiser: torch.optim.Optimizer = torch.optim.SGD(
                [self.tensor], lr=state.rate, momentum=options.image_momentum
            )
        else:
            self.optimiser = torch.optim.AdamW(
                [self.tensor], lr=state.rate, weight_decay=options.image_weight_decay
            )
        if state.optimiser:
            # The number of steps stays on the CPU, where the optimiser wants it.
            self.optimiser.state[self.tensor] = {
                name: sent(value, ctx.runtime.device).clone() if value.ndim else value.clone()
                for name, value in state.optimiser.items()
            }

    def of_class(self, label: int) -> Tensor:
        """The images of a class as they are now, a leaf of its own."""
        return self.tensor.detach()[self._rows(label)].clone().requires_grad_()

    def move(self, label: int, gradient: Tensor) -> None:
        """One step of the optimiser in which only this class has a gradient."""
        self.tensor.grad = torch.zeros_like(self.tensor)
        self.tensor.grad[self._rows(label)] = gradient
        self.optimiser.step()

    def keep(self, state: NCFMState) -> None:
        """Write images and optimiser into the state."""
        state.images = self.tensor.detach().cpu()
        state.optimiser = {k: v.cpu() for k, v in self.optimiser.state[self.tensor].items()}

    def _rows(self, label: int) -> slice:
        return slice(label * self.per_class, (label + 1) * self.per_class)


class Sampler:
    """Where frequencies come from: the frequency network while it learns, or chance alone."""

    def __init__(self, state: NCFMState, options: NCFMOptions, ctx: Context) -> None:
        self.ctx, self.count = ctx, options.frequencies
        self.network: nn.Module | None = None
        self.parameters: list[nn.Parameter] = []
        if not state.sampler:
            return
        width = len(next(iter(state.sampler.values())))
        with torch.device("meta"):  # its weights are there, so none are drawn
            self.network = frequency_network(width)
        weights = {k: sent(v, ctx.runtime.device).clone() for k, v in state.sampler.items()}
        self.network.load_state_dict(weights, assign=True)
        self.parameters = list(self.network.parameters())
        rate = options.sampling_learning_rate
        self.optimiser = torch.optim.SGD(
            self.parameters, lr=rate, momentum=SAMPLER_MOMENTUM, maximize=True
        )
        for name, own in self.network.named_parameters():
            if name in state.sampler_momenta:
                momentum = sent(state.sampler_momenta[name], own.device).clone()
                self.optimiser.state[own]["momentum_buffer"] = momentum

    def frequencies(self, width: int, label: int, number: int) -> Tensor:
        """Frequencies for one class and iteration, (k, width)."""
        draw = self.ctx.streams.generator("frequencies", label, number)
        noise = sent(torch.randn(self.count, width, generator=draw), self.ctx.runtime.device)
        if self.network is None:
            return noise
        found: Tensor = self.network(noise)
        return found

    def climb(self, slopes: Sequence[Tensor]) -> None:
        """Step towards frequencies at which the distributions differ more."""
        if self.network is None:
            return
        for parameter, slope in zip(self.parameters, slopes, strict=True):
            parameter.grad = slope
        self.optimiser.step()

    def keep(self, state: NCFMState) -> None:
        """Write the network and its momenta into the state."""
        if self.network is None:
            return
        state.sampler = on_host(network_state(self.network))
        state.sampler_momenta = on_host(
            {
                name: self.optimiser.state[own]["momentum_buffer"]
                for name, own in self.network.named_parameters()
            }
        )


def frequency_network(width: int) -> nn.Sequential:
    """From noise (k, width) to frequencies in [-1, 1] of the same shape: three linear layers.

    Batch norm uses the statistics of the batch alone, so the network has no state but its weights.
    """
    layers: list[nn.Module] = []
    for activation in (nn.LeakyReLU(0.2), nn.LeakyReLU(0.2), nn.Tanh()):
        norm = nn.BatchNorm1d(width, track_running_stats=False)
        layers += [nn.Linear(width, width), norm, activation]
    return nn.Sequential(*layers)


def classification_loss(network: Network, images: Tensor, label: int) -> Tensor:
    """Cross entropy of images of one class (scalar)."""
    return F.cross_entropy(network(images), labels_of(label, images))


def draws_for(label: int, number: int, phase: int, ctx: Context) -> list[Draw]:
    """One change of each kind, for all images of a class; another for each of the two losses."""
    generator = ctx.streams.generator("siamese", label, number, phase)
    return [siamese_draw((operation,), generator) for operation in AUGMENTATION]


def changed(images: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Images after all changes, in order."""
    for draw in draws:
        images = draw.apply(images)
    return images


def seen(images: Tensor, draws: Sequence[Draw], partition: int, ctx: Context) -> Tensor:
    """Stored images in [0, 1] as a network sees them: tiles, normalised and changed."""
    return changed(standardise(tiles_of(images, partition), ctx.facts), draws)


def wait_or_slow(state: NCFMState, loss: float, patience: int) -> None:
    """Halve the rate of the images when the loss has not been better for long; changes ``state``.

    What torch calls ReduceLROnPlateau.
    """
    if state.best is None or loss < state.best * (1 - IMPROVEMENT):
        state.best, state.waited = loss, 0
        return
    state.waited += 1
    if state.waited > patience:
        state.rate, state.waited = state.rate * FALL, 0
