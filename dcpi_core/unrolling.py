"""Labels learned through the training of students, whatever their type.

A student is trained on the labelled images for a few steps. What the student that it has become
loses on real images is then differentiated, back through these steps, with respect to the labels:
they move to where training on them leads to a better student, as Bohdal et al. (2020, arXiv
2006.08572) learn class labels. A training is not unrolled whole but window by window, with several
students at different places of theirs, after Feng et al. (ICLR 2024, arXiv 2311.07025).
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from dcpi_core.compute import sent
from dcpi_core.context import Context
from dcpi_core.networks import Network
from dcpi_core.ops.parameters import flatten, unflatten
from dcpi_core.spec.base import Options
from dcpi_core.spec.controls import WINDOWS_PER_UPDATE
from dcpi_core.training import gradients
from dcpi_core.window import Course, Lesson, Pupil, lesson

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
    turns = ctx.runtime.map(
        lambda turn: _turn(turn, values, state, course, options, ctx),
        range(number * WINDOWS_PER_UPDATE, (number + 1) * WINDOWS_PER_UPDATE),
    )
    state = {name: value.clone() for name, value in state.items()}
    for student, life, found in turns:
        state["parameters"][student] = found.pupil.parameters.cpu()
        state["momentum"][student] = found.pupil.momentum.cpu()
        state["steps"][student] = found.pupil.steps
        state["lives"][student] = life
    # In plain order, as a checkpoint stores it: sums over another order round differently.
    gradient = torch.stack([turn.lesson.gradient.cpu().contiguous() for turn in turns]).mean(0)
    unit = float(start.square().mean().sqrt())
    rate = options.unrolled_rate * unit * (1 - number / options.unrolled_updates)
    moved = values - rate * _direction(gradient, state, number + 1)
    return Update(moved, state, sum(turn.lesson.loss for turn in turns) / len(turns))


class _Turn(NamedTuple):
    """Whose window it was, in which of its trainings, and what it taught."""

    student: int
    life: int
    lesson: Lesson


def _turn(
    number: int,
    values: Tensor,
    state: dict[str, Tensor],
    course: Course,
    options: UnrolledOptions,
    ctx: Context,
) -> _Turn:
    student, window = number % options.unrolled_students, options.unrolled_window
    life, steps = int(state["lives"][student]), int(state["steps"][student])
    if steps + window > _end(student, life, course, options):
        life, steps = life + 1, 0
    network = ctx.fresh_network("pupil", student, life).train()
    device = ctx.runtime.device
    if steps:
        parameters, momentum = state["parameters"][student], state["momentum"][student]
        before = Pupil(sent(parameters, device), sent(momentum, device), steps)
    else:
        first = flatten(network.parameters()).detach()
        before = Pupil(first, torch.zeros_like(first), 0)
    order = ctx.streams.child("pupil_order", student, life)
    found = lesson(
        network,
        before,
        window,
        sent(values, device),
        replace(course, streams=order),
        judge=lambda parameters: _judged(network, parameters, number, options, ctx),
        graph_images=ctx.runtime.graph_images,
    )
    return _Turn(student, life, found)


def _end(student: int, life: int, course: Course, options: UnrolledOptions) -> int:
    """Steps after which a training is over. First ones end early: so students come apart."""
    return course.steps if life else course.steps * (student + 1) // options.unrolled_students


def _judged(
    network: Network, parameters: Tensor, number: int, options: UnrolledOptions, ctx: Context
) -> tuple[float, Tensor]:
    """Loss on real images of all classes of a student with these parameters, and its gradient."""
    with torch.no_grad():
        for name, value in unflatten(parameters, network).items():
            network.get_parameter(name).copy_(value)
    draw = ctx.streams.generator("judging", number)
    index = torch.randint(len(ctx.train), (options.unrolled_real_images,), generator=draw)
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
