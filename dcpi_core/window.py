"""A few steps of a student's training on labelled images, and the gradient back through them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from dcpi_core.compute import sent
from dcpi_core.condensed import CondensedSet, PrivilegedLabels, StudentOutput
from dcpi_core.context import Context
from dcpi_core.networks import Network
from dcpi_core.ops.parameters import unflatten
from dcpi_core.rng import Streams
from dcpi_core.training import Recipe


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

    @property
    def batch_size(self) -> int:
        """Images of a step, at most."""
        return min(len(self.targets), self.recipe.batch_size)

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


def trained(
    network: Network,
    pupil: Pupil,
    steps: int,
    values: Tensor,
    course: Course,
    *,
    graph: bool = True,
) -> Pupil:
    """The student so many steps later; the steps are those of ``training.fit``.

    Args:
        network: gives the architecture; its own parameters are neither used nor changed.
        pupil: as it is now.
        values: as ``course.labels`` takes them.
        graph: whether the result is differentiable in the pupil and the values. The graphs of all
            steps are then alive until the backward pass.
    """
    objective, labels, recipe = _Objective(network), course.labels(values), course.recipe
    parameters, momentum = pupil.parameters, pupil.momentum
    for step in range(pupil.steps, pupil.steps + steps):
        if not parameters.requires_grad:
            parameters = parameters.detach().requires_grad_()
        where = course.batch(step)
        own = {f"network.{k}": v for k, v in unflatten(parameters, network).items()}
        seen = labels.batch(where).for_batch(course.streams.generator("labels", step))
        given = (course.images[where], course.targets[where], seen)
        loss = functional_call(objective, own, given)
        (gradient,) = torch.autograd.grad(loss, parameters, create_graph=graph)
        kept = 0.0 if course.forgets(step) else recipe.momentum
        momentum = kept * momentum + gradient + recipe.weight_decay * parameters
        parameters = parameters - course.rate(step) * momentum
        if not graph:
            parameters, momentum = parameters.detach(), momentum.detach()
    return Pupil(parameters, momentum, pupil.steps + steps)


class Lesson(NamedTuple):
    """What a window taught: the student after it, and its loss with the gradient for the values."""

    pupil: Pupil
    loss: float
    gradient: Tensor


def lesson(  # noqa: PLR0913 - all of them make one function
    network: Network,
    pupil: Pupil,
    steps: int,
    values: Tensor,
    course: Course,
    judge: Callable[[Tensor], tuple[float, Tensor]],
    graph_images: int | None = None,
) -> Lesson:
    """Train for a window, and differentiate how good the student is by then in the labels.

    The graph of a step takes far more memory than a student. With a limit to them, those of the
    last steps are kept; those of the steps before are made again on the way back, from students put
    by on the way there (Chen et al., 2016, arXiv 1604.06174). The gradient is the same.

    Args:
        network: gives the architecture; its own parameters are neither used nor changed.
        pupil: as it is now.
        steps: of the window, at least one.
        values: as ``course.labels`` takes them.
        judge: a loss, and its gradient (P,), of the student with these parameters (P,).
        graph_images: images times steps whose graphs are in memory at once; a single step is
            never divided. Default: no limit.
    """
    pieces = _pieces(steps, course.batch_size, graph_images)
    values, starts = values.detach(), [pupil]
    for length in pieces[:-1]:
        starts.append(trained(network, starts[-1], length, values, course, graph=False))

    values.requires_grad_()
    start = _leaves(starts.pop())
    end = trained(network, start, pieces.pop(), values, course)
    after = _detached(end)
    loss, judgement = judge(after.parameters)
    gradient, wanted = torch.zeros_like(values), [judgement, torch.zeros_like(judgement)]
    while starts:
        sources = (values, start.parameters, start.momentum)
        own, *wanted = torch.autograd.grad((end.parameters, end.momentum), sources, wanted)
        gradient += own
        start = _leaves(starts.pop())
        end = trained(network, start, pieces.pop(), values, course)
    (own,) = torch.autograd.grad((end.parameters, end.momentum), values, wanted)
    return Lesson(after, loss, gradient + own)


def _leaves(pupil: Pupil) -> Pupil:
    parameters, momentum = (own.detach().requires_grad_() for own in pupil[:2])
    return Pupil(parameters, momentum, pupil.steps)


def _detached(pupil: Pupil) -> Pupil:
    return Pupil(pupil.parameters.detach(), pupil.momentum.detach(), pupil.steps)


def _pieces(steps: int, batch: int, graph_images: int | None) -> list[int]:
    """Lengths of a window's pieces: as few as there can be, and as equal."""
    most = max(1, graph_images // batch) if graph_images else steps
    count = -(-steps // most)
    return [steps * (i + 1) // count - steps * i // count for i in range(count)]


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
