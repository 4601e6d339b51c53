"""A window of a training: its steps are those of students, its gradient exact in any memory."""

import pytest
import torch

from dcpi_core.condensed import CondensedSet
from dcpi_core.networks import build
from dcpi_core.ops.parameters import flatten
from dcpi_core.privileged.features.labels import FeatureLabels, LabelSettings
from dcpi_core.rng import Streams
from dcpi_core.training import Recipe, fit
from dcpi_core.window import Course, Pupil, lesson, trained
from tests.core.graphs import most_bytes_kept


def problem(count=5, dtype=torch.float64, labels_per_image=1, **settings):
    """A small network, a few labelled images and a course on them."""
    draw = torch.Generator().manual_seed(3)
    with Streams(0).initialisation("network"):
        network = build("ConvNetD2", 1, 3, (8, 8), width=16).to(dtype)
    images = torch.randn(count, 1, 8, 8, generator=draw, dtype=dtype)
    shape = (labels_per_image, count, *network.feature_shape(2))
    values = torch.rand(shape, generator=draw, dtype=dtype)
    given = LabelSettings(regression_weight=2.0, task_weight=0.5, **settings)
    course = Course(
        images=images,
        targets=torch.arange(count) % 3,
        labels=lambda own: FeatureLabels(own[0] if len(own) == 1 else own.transpose(0, 1), given),
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
    after = trained(network, start_of(network), course.steps, values, course)
    condensed = CondensedSet(course.images, course.targets, (course.labels(values),))
    fit(network, condensed, course.recipe, streams=course.streams)
    assert after.steps == course.steps == 7 * 2
    torch.testing.assert_close(after.parameters.detach(), flatten(network.parameters()).detach())


def test_windows_follow_each_other():
    network, values, course = problem()
    whole = trained(network, start_of(network), 12, values, course)
    half = trained(network, start_of(network), 5, values, course)
    both = trained(network, half, 7, values, course)
    torch.testing.assert_close(both.parameters, whole.parameters)
    torch.testing.assert_close(both.momentum, whole.momentum)


@pytest.mark.parametrize("first", [0, 9])  # from 10 on with the lower rate
def test_the_gradient_is_that_of_finite_differences(first):
    network, values, course = problem()
    before = trained(network, start_of(network), first, values, course) if first else None
    before = start_of(network) if before is None else before
    draw = torch.Generator().manual_seed(1)
    direction = torch.randn(values.shape, generator=draw).double()
    weights = torch.randn(before.parameters.shape, generator=draw).double()
    reached = trained(network, before, 4, values, course).parameters.detach()

    def loss(own):
        # Counted from where the values lead, or rounding would drown so small a difference.
        return ((trained(network, before, 4, own, course).parameters - reached) * weights).sum()

    leaf = values.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    small = 1e-5
    up, down = loss(values + small * direction), loss(values - small * direction)
    expected = float((up - down).detach() / (2 * small))
    assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-5)
    assert expected != 0


def judged(weights):
    """A loss that is linear in the student's parameters."""
    return lambda parameters: (float(parameters @ weights), weights)


def taught(graph_images, first=0, **settings):
    network, values, course = problem(**settings)
    before = start_of(network)
    if first:
        before = trained(network, before, first, values, course, graph=False)
    draw = torch.Generator().manual_seed(1)
    weights = torch.randn(before.parameters.shape, generator=draw).double()
    return lesson(network, before, 7, values, course, judged(weights), graph_images)


def test_a_lesson_is_the_gradient_of_the_whole_window():
    network, values, course = problem()
    found = taught(None)
    leaf = values.clone().requires_grad_()
    after = trained(network, start_of(network), 7, leaf, course)
    draw = torch.Generator().manual_seed(1)
    weights = torch.randn(after.parameters.shape, generator=draw).double()
    loss = after.parameters @ weights
    (gradient,) = torch.autograd.grad(loss, leaf)
    assert torch.equal(found.gradient, gradient)
    assert torch.equal(found.pupil.parameters, after.parameters)
    assert torch.equal(found.pupil.momentum, after.momentum)
    assert found.pupil.steps == 7
    assert found.loss == float(loss.detach())
    assert not any(own.requires_grad for own in (*found.pupil[:2], found.gradient))


@pytest.mark.parametrize("first", [0, 6])  # from step 10 on with the lower rate, momentum anew
@pytest.mark.parametrize("graph_images", [1, 6, 10, 18])  # pieces of 1, 2, 3 and 6 steps at most
def test_a_window_in_pieces_teaches_the_same(first, graph_images):
    whole, pieces = taught(None, first), taught(graph_images, first)
    torch.testing.assert_close(pieces.gradient, whole.gradient, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(pieces.pupil.parameters, whole.pupil.parameters)
    torch.testing.assert_close(pieces.pupil.momentum, whole.pupil.momentum)
    assert float(whole.gradient.abs().max()) > 1e-6


def test_labels_drawn_for_a_batch_are_drawn_alike_when_a_piece_is_made_again():
    whole, pieces = taught(None, labels_per_image=3), taught(3, labels_per_image=3)
    torch.testing.assert_close(pieces.gradient, whole.gradient, rtol=1e-9, atol=1e-12)
    assert (whole.gradient.flatten(2).abs().sum(2) > 0).sum() > 5  # more than one of an image


def test_a_limit_bounds_what_graphs_keep():
    one_step = most_bytes_kept(lambda: taught(3))
    assert 0 < one_step < 0.3 * most_bytes_kept(lambda: taught(None))  # of seven
