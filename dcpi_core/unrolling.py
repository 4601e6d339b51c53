"""Labels learned through the training of students, whatever their type.

A student is trained on the labelled images for a few steps. What the student that it has become
loses on real images is then differentiated, back through these steps, with respect to the labels:
they move to where training on them leads to a better student, as Bohdal et al. (2020, arXiv
2006.08572) learn class labels. A training is not unrolled whole but window by window, with several
students at different places of theirs, after Feng et al. (ICLR 2024, arXiv 2311.07025).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from dcpi_core.compute import sent
from dcpi_core.condensed import CondensedSet, PrivilegedLabels, StudentOutput
from dcpi_core.context import Context
from dcpi_core.networks import Network
from dcpi_core.ops.parameters import flatten, unflatten
from dcpi_core.rng import Streams
from dcpi_core.spec.base import Options
from dcpi_core.spec.controls import WINDOWS_PER_UPDATE
from dcpi_core.training import Recipe, gradients

BETAS = (0.9, 0.99)
EPSILON = 1e-12


class UnrolledOptions(Options):
    """How labels are learned through training, where they are."""

    unrolled_updates: int = Field(
        400, ge=1, le=100_000, description="unrolled: updates of the labels"
    )
    unrolled_window: int = Field(
        10, ge=1, le=200, description="unrolled: steps of a student's training that make an update"
    )
    unrolled_students: int = Field(
        8, ge=2, le=64, description="unrolled: students in training, two of them at each update"
    )
    unrolled_real_images: int = Field(
        256, ge=1, le=8192, description="unrolled: of all classes, to judge a student by"
    )
    unrolled_rate: float = Field(
        0.025,
        gt=0,
        le=1,
        description="unrolled: first movement per update, relative to the labels; falls to zero",
    )


@dataclass(frozen=True)
class Course:
    """What students are trained on, and how.

    Attributes:
        images: (n, C, H, W).
        targets: (n,) class labels.
        labels: from the values that are learned to what students see, differentiable.
        recipe: without augmentation.
        streams: the order of the images where they are more than a batch.
    """

    images: Tensor
    targets: Tensor
    labels: Callable[[Tensor], PrivilegedLabels]
    recipe: Recipe
    streams: Streams

    @classmethod
    def on(
        cls, condensed: CondensedSet, labels: Callable[[Tensor], PrivilegedLabels], ctx: Context
    ) -> "Course":
        """The protocol ``dc`` on these images."""
        device = ctx.runtime.device
        images, targets = sent(condensed.images, device), sent(condensed.labels, device)
        return cls(images, targets, labels, Recipe(), ctx.streams)

    @property
    def batches(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.targets) // self.recipe.batch_size)

    @property
    def steps(self) -> int:
        """Steps of a whole training."""
        return len(self.recipe.learning_rates()) * self.batches

    def batch(self, step: int) -> Tensor:
        """Which images a step is made on."""
        epoch, number = divmod(step, self.batches)
        size = self.recipe.batch_size
        draw = self.streams.generator("shuffle", epoch)
        order = torch.randperm(len(self.targets), generator=draw)
        return sent(order[number * size : (number + 1) * size], self.images.device)

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return self.recipe.learning_rates()[step // self.batches]

    def forgets(self, step: int) -> bool:
        """Whether the optimiser is a new one from this step on."""
        return step > 0 and self.rate(step) != self.rate(step - 1)


class Pupil(NamedTuple):
    """A student in training: its parameters and momentum, (P,) each, and the steps done."""

    parameters: Tensor
    momentum: Tensor
    steps: int


def unrolled(network: Network, pupil: Pupil, window: int, values: Tensor, course: Course) -> Pupil:
    """The student ``window`` steps later, differentiable in the labels' ``values``.

    The steps are those of ``training.fit``. Their graphs are alive until the backward pass.

    Args:
        network: gives the architecture; its own parameters are neither used nor changed.
        pupil: as it is now.
        values: as ``course.labels`` takes them.
    """
    objective, labels, recipe = _Objective(network), course.labels(values), course.recipe
    parameters, momentum = pupil.parameters.detach().requires_grad_(), pupil.momentum
    for step in range(pupil.steps, pupil.steps + window):
        where = course.batch(step)
        own = {f"network.{k}": v for k, v in unflatten(parameters, network).items()}
        seen = labels.batch(where).for_batch(course.streams.generator("labels", step))
        given = (course.images[where], course.targets[where], seen)
        loss = functional_call(objective, own, given)
        (gradient,) = torch.autograd.grad(loss, parameters, create_graph=True)
        kept = 0.0 if course.forgets(step) else recipe.momentum
        momentum = kept * momentum + gradient + recipe.weight_decay * parameters
        parameters = parameters - course.rate(step) * momentum
    return Pupil(parameters, momentum, pupil.steps + window)


class _Objective(nn.Module):
    """A student's objective on a batch, differentiable twice, to be called functionally."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, targets: Tensor, labels: PrivilegedLabels) -> Tensor:
        network = self.network
        last = network.num_layers
        seen = {last} | ({network.layer_number(labels.layer)} if labels.layer else set())
        maps = network.maps(images, seen)
        output = StudentOutput(network, maps, network.classify(maps[last]))
        loss = labels.loss(output, targets)
        if labels.replaces_hard_labels:
            return loss
        return loss + F.cross_entropy(output.logits, targets)


def nobody(values: Tensor, options: UnrolledOptions, ctx: Context) -> dict[str, Tensor]:
    """The state before the first update: no student has begun.

    Returns:
        ``parameters`` and ``momentum`` (students, P), ``steps`` and ``lives`` (students,), and the
        first two moments of the labels' gradient, like ``values``.
    """
    size = flatten(ctx.fresh_network("pupil", 0, 0).parameters()).numel()
    count = options.unrolled_students
    return {
        "parameters": torch.zeros(count, size),
        "momentum": torch.zeros(count, size),
        "steps": torch.zeros(count, dtype=torch.int64),
        "lives": torch.zeros(count, dtype=torch.int64),
        "mean": torch.zeros_like(values),
        "square": torch.zeros_like(values),
    }


class Update(NamedTuple):
    """Labels and state after an update, and the students' mean loss on real images."""

    values: Tensor
    state: dict[str, Tensor]
    loss: float


def update(  # noqa: PLR0913 - all of them make one function of the state
    values: Tensor,
    start: Tensor,
    state: dict[str, Tensor],
    number: int,
    course: Course,
    options: UnrolledOptions,
    ctx: Context,
) -> Update:
    """Move the labels once, by the windows of the students whose turn it is.

    Args:
        values: what is learned, as ``course.labels`` takes it.
        start: the same before any learning; its root mean square is the unit of the rate.
        state: from ``nobody`` or the update before; not changed.
        number: of this update, from 0.
    """
    found = ctx.runtime.map(
        lambda turn: _lesson(turn, values, state, course, options, ctx),
        range(number * WINDOWS_PER_UPDATE, (number + 1) * WINDOWS_PER_UPDATE),
    )
    state = {name: value.clone() for name, value in state.items()}
    for lesson in found:
        state["parameters"][lesson.student] = lesson.pupil.parameters.cpu()
        state["momentum"][lesson.student] = lesson.pupil.momentum.cpu()
        state["steps"][lesson.student] = lesson.pupil.steps
        state["lives"][lesson.student] = lesson.life
    # In plain order, as a checkpoint stores it: sums over another order round differently.
    gradient = torch.stack([lesson.gradient.cpu().contiguous() for lesson in found]).mean(0)
    unit = float(start.square().mean().sqrt())
    rate = options.unrolled_rate * unit * (1 - number / options.unrolled_updates)
    moved = values - rate * _direction(gradient, state, number + 1)
    return Update(moved, state, sum(lesson.loss for lesson in found) / len(found))


class _Lesson(NamedTuple):
    """What one window taught."""

    student: int
    life: int
    pupil: Pupil
    gradient: Tensor
    loss: float


def _lesson(
    turn: int,
    values: Tensor,
    state: dict[str, Tensor],
    course: Course,
    options: UnrolledOptions,
    ctx: Context,
) -> _Lesson:
    student, window = turn % options.unrolled_students, options.unrolled_window
    life, steps = int(state["lives"][student]), int(state["steps"][student])
    if steps + window > _end(student, life, course, options):
        life, steps = life + 1, 0
    network = ctx.fresh_network("pupil", student, life).train()
    if steps:
        parameters, momentum = state["parameters"][student], state["momentum"][student]
        device = ctx.runtime.device
        before = Pupil(sent(parameters, device), sent(momentum, device), steps)
    else:
        first = flatten(network.parameters()).detach()
        before = Pupil(first, torch.zeros_like(first), 0)
    leaf = sent(values, ctx.runtime.device).detach().requires_grad_()
    order = ctx.streams.child("pupil_order", student, life)
    after = unrolled(network, before, window, leaf, replace(course, streams=order))
    with torch.no_grad():
        for name, value in unflatten(after.parameters, network).items():
            network.get_parameter(name).copy_(value)
    loss, judgement = _judged(network, turn, options.unrolled_real_images, ctx)
    (gradient,) = torch.autograd.grad(after.parameters, leaf, judgement)
    later = Pupil(after.parameters.detach(), after.momentum.detach(), after.steps)
    return _Lesson(student, life, later, gradient, loss)


def _end(student: int, life: int, course: Course, options: UnrolledOptions) -> int:
    """Steps after which a training is over. First ones end early: so students come apart."""
    return course.steps if life else course.steps * (student + 1) // options.unrolled_students


def _judged(network: Network, turn: int, count: int, ctx: Context) -> tuple[float, Tensor]:
    """Loss of a network on ``count`` real images of all classes, and its gradient (P,)."""
    draw = ctx.streams.generator("judging", turn)
    index = torch.randint(len(ctx.train), (count,), generator=draw)
    targets = sent(ctx.train.labels[index], ctx.runtime.device)
    found, result = gradients(network, ctx.normalised(index), targets, ctx.runtime)
    return float(result.loss), flatten(found)


def _direction(gradient: Tensor, state: dict[str, Tensor], count: int) -> Tensor:
    """Adam's step of size one (Kingma and Ba, ICLR 2015); updates the moments in ``state``."""
    first, second = BETAS
    state["mean"] = first * state["mean"] + (1 - first) * gradient
    state["square"] = second * state["square"] + (1 - second) * gradient.square()
    mean = state["mean"] / (1 - first**count)
    return mean / ((state["square"] / (1 - second**count)).sqrt() + EPSILON)
