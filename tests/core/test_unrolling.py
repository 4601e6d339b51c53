"""Training unrolled: the steps are those of students, and the gradient is exact."""

import pytest
import torch

from dcpi_core.condensed import CondensedSet
from dcpi_core.networks import build
from dcpi_core.ops.parameters import flatten
from dcpi_core.privileged.features.labels import FeatureLabels, LabelSettings
from dcpi_core.rng import Streams
from dcpi_core.training import Recipe, fit
from dcpi_core.unrolling import Course, Pupil, unrolled


def problem(count=5, dtype=torch.float64, **settings):
    """A small network, a few labelled images and a course on them."""
    draw = torch.Generator().manual_seed(3)
    with Streams(0).initialisation("network"):
        network = build("ConvNetD2", 1, 3, (8, 8)).to(dtype)
    images = torch.randn(count, 1, 8, 8, generator=draw, dtype=dtype)
    values = torch.rand(1, count, *network.feature_shape(2), generator=draw, dtype=dtype)
    given = LabelSettings(regression_weight=2.0, task_weight=0.5, **settings)
    course = Course(
        images=images,
        targets=torch.arange(count) % 3,
        labels=lambda own: FeatureLabels(own.mean(0), given),
        recipe=Recipe(epochs=6, batch_size=3, learning_rate=0.05),
        streams=Streams(7),
    )
    return network, values, course


def start_of(network):
    first = flatten(network.parameters()).detach()
    return Pupil(first, torch.zeros_like(first), 0)


def test_a_whole_training_unrolled_is_a_training():
    """Batches in the same order, momentum, weight decay, the lower rate and the new optimiser."""
    network, values, course = problem()
    after = unrolled(network, start_of(network), course.steps, values, course)
    condensed = CondensedSet(course.images, course.targets, (course.labels(values),))
    fit(network, condensed, course.recipe, streams=course.streams)
    assert after.steps == course.steps == 7 * 2
    torch.testing.assert_close(after.parameters.detach(), flatten(network.parameters()).detach())


def test_windows_follow_each_other():
    network, values, course = problem()
    whole = unrolled(network, start_of(network), 12, values, course)
    half = unrolled(network, start_of(network), 5, values, course)
    both = unrolled(network, half, 7, values, course)
    torch.testing.assert_close(both.parameters, whole.parameters)
    torch.testing.assert_close(both.momentum, whole.momentum)


@pytest.mark.parametrize("first", [0, 9])  # from 10 on with the lower rate
def test_the_gradient_is_that_of_finite_differences(first):
    network, values, course = problem()
    before = unrolled(network, start_of(network), first, values, course) if first else None
    before = start_of(network) if before is None else before
    draw = torch.Generator().manual_seed(1)
    direction = torch.randn(values.shape, generator=draw).double()
    weights = torch.randn(before.parameters.shape, generator=draw).double()
    reached = unrolled(network, before, 4, values, course).parameters.detach()

    def loss(own):
        # Counted from where the values lead, or rounding would drown so small a difference.
        return ((unrolled(network, before, 4, own, course).parameters - reached) * weights).sum()

    leaf = values.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    small = 1e-5
    up, down = loss(values + small * direction), loss(values - small * direction)
    expected = float((up - down).detach() / (2 * small))
    assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-5)
    assert expected != 0
