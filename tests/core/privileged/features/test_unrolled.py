"""Labels learned through training: the steps are those of students, the gradient is exact."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from dcpi_core.checkpoint import load_tensors, pack, save_tensors, unpack
from dcpi_core.condensed import CondensedSet
from dcpi_core.networks import build
from dcpi_core.ops.parameters import flatten
from dcpi_core.privileged.features.attention import AttentionOptions, SpatialAttention
from dcpi_core.privileged.features.feature import Feature, FeatureOptions, FeatureState
from dcpi_core.privileged.features.labels import FeatureLabels, LabelSettings
from dcpi_core.privileged.features.unrolled import Course, Pupil, unrolled
from dcpi_core.rng import Streams
from dcpi_core.training import Recipe, fit

SMALL = {
    "storage": "float32",
    "teacher_epochs": 2,
    "teacher_min_steps": 0,
    "learning": "unrolled",
    "unrolled_updates": 6,
    "unrolled_window": 3,
    "unrolled_students": 3,
    "unrolled_real_images": 12,
}


def learned(kind, condensed, ctx, state=None, steps=None):
    state = kind.init(condensed, ctx) if state is None else state
    wanted = range(kind.total_steps(ctx)) if steps is None else steps
    return state, [kind.step(state, condensed, number, ctx) for number in wanted]


def feature(**changes):
    return Feature(FeatureOptions(**(SMALL | changes)))


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
    direction = torch.randn(values.shape, generator=torch.Generator().manual_seed(1)).double()
    target = torch.randn_like(before.parameters)

    def loss(own):
        after = unrolled(network, before, 4, own, course)
        return F.mse_loss(after.parameters, target)

    leaf = values.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    small = 1e-5
    up, down = loss(values + small * direction), loss(values - small * direction)
    expected = float((up - down).detach() / (2 * small))
    assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-5)
    assert expected != 0


def test_students_come_to_lose_less_on_real_images(ctx, condensed):
    kind = feature(unrolled_updates=40, unrolled_rate=0.05, regression_weight=30.0)
    state, told = learned(kind, condensed, ctx)
    losses = [found["loss"] for found in told]
    assert sum(losses[-9:]) < 0.9 * sum(losses[:9])  # each student thrice
    assert told[-1]["label_drift"] > 0.1
    assert kind.finish(state).images is None
    assert torch.equal(kind.assigned(state).values, state.start.mean(0))


def test_first_trainings_end_early_so_that_students_come_apart(ctx, condensed):
    kind = feature(unrolled_window=50, unrolled_students=3)
    state, _ = learned(kind, condensed, ctx, steps=range(3))  # two windows for each
    # 301 steps make a training; first ones end after 100, 200 and 301.
    assert state.pupils["steps"].tolist() == [100, 100, 100]
    learned(kind, condensed, ctx, state, range(3, 6))
    assert state.pupils["lives"].tolist() == [1, 0, 0]
    assert state.pupils["steps"].tolist() == [100, 200, 200]


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(ctx, condensed, tmp_path):
    kind = feature()
    whole, _ = learned(kind, condensed, ctx)
    part, _ = learned(kind, condensed, ctx, steps=range(4))
    save_tensors(tmp_path / "state", *pack(part))
    resumed = unpack(FeatureState, *load_tensors(tmp_path / "state"))
    resumed, _ = learned(kind, condensed, ctx, resumed, range(4, 6))
    assert torch.equal(resumed.values, whole.values)
    assert all(torch.equal(resumed.pupils[name], own) for name, own in whole.pupils.items())


def test_the_rate_falls_to_zero(ctx, condensed):
    """Adam's first step is of size one whatever the gradient; the last is a sixth of it."""
    kind = feature()
    state, told = learned(kind, condensed, ctx, steps=range(1))
    assert told[0]["label_drift"] == pytest.approx(FeatureOptions().unrolled_rate, rel=1e-3)
    before = state.values
    learned(kind, condensed, ctx, state, range(5, 6))
    moved = float((state.values - before).abs().max() / state.start.square().mean().sqrt())
    # At most 1 / 6 of the first rate times Adam's largest step after few gradients.
    assert 0 < moved < 0.5 * FeatureOptions().unrolled_rate


@pytest.mark.parametrize("combine", ["mean", "random"])
def test_several_labels_of_an_image_are_learned_at_once(ctx, condensed, combine):
    kind = feature(labels_per_image=2, combine=combine, unrolled_updates=2)
    state, _ = learned(kind, condensed, ctx)
    moved = (state.values - state.start).flatten(1).norm(dim=1)
    assert bool((moved > 0).all())
    assert kind.finish(state).labels.values.shape[: 1 + (combine == "random")] == (
        (6, 2) if combine == "random" else (6,)
    )


def test_attention_is_learned_through_its_pooling(ctx, condensed):
    kind = SpatialAttention(AttentionOptions(**(SMALL | {"unrolled_updates": 2})))
    state, _ = learned(kind, condensed, ctx)
    made = kind.finish(state).labels
    assert made.values.shape[1] == 1
    assert not torch.equal(made.values, kind.assigned(state).values)


def test_what_is_learned_does_not_depend_on_the_number_of_threads(ctx, condensed):
    alone = replace(ctx, runtime=replace(ctx.runtime, threads=1))
    beside = replace(ctx, runtime=replace(ctx.runtime, threads=2))
    kind = feature(unrolled_updates=2)
    one, two = (learned(kind, condensed, own)[0].values for own in (alone, beside))
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
