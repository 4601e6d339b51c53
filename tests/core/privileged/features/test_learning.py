"""Labels learned by gradient matching: schedules, step sizes, several labels, attention."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.nn import functional as F

from dcpi_core.condensed import CondensedSet
from dcpi_core.methods.matching.base import GradientMatchingState
from dcpi_core.methods.matching.dc import DC, DCOptions
from dcpi_core.ops.distances import gradient_distance
from dcpi_core.privileged.features import feature as subject
from dcpi_core.privileged.features.attention import (
    AttentionOptions,
    ChannelAttention,
    SpatialAttention,
)
from dcpi_core.privileged.features.feature import Feature, FeatureOptions
from dcpi_core.privileged.features.matching import LabelTerms, match_labels, match_with_images
from tests.core.privileged.features.test_feature import matching_problem

SMALL = {
    "storage": "float32",
    "teacher_epochs": 2,
    "teacher_min_steps": 0,
    "iterations": 2,
    "outer_loops": 2,
    "real_batch": 5,
    "learning": "gradient_matching",
}


def learned(kind, condensed, ctx, steps=None):
    state = kind.init(condensed, ctx)
    for number in range(kind.total_steps(ctx) if steps is None else steps):
        kind.step(state, condensed, number, ctx)
    return state


def feature(**changes):
    return Feature(FeatureOptions(**(SMALL | changes)))


@pytest.mark.parametrize("form", ["map", "spatial", "channel"])
@pytest.mark.parametrize("layer", ["first", "second"])
def test_one_forward_pass_gives_what_double_backward_gives(form, layer):
    network, images, values, real = matching_problem()
    with torch.no_grad():
        own = network.features(images, network.layer_number(layer))
    values = {
        "map": torch.rand_like(own),
        "spatial": torch.rand_like(own[:, :1]),
        "channel": torch.rand_like(own[:, :, :1, :1]),
    }[form]
    terms = LabelTerms(layer, form, regression_weight=1.5, task_weight=0.1)
    with forward_ad.dual_level():
        fast = match_labels(network, images, values, 1, real, terms)
    slow = match_with_images(network, images, values, 1, real, terms)
    torch.testing.assert_close(fast.value, slow.value)
    torch.testing.assert_close(fast.labels, slow.labels, rtol=1e-6, atol=1e-12)


def test_the_task_term_inside_the_matched_gradient_is_equation_5_in_print():
    network, images, values, real = matching_problem()
    terms = LabelTerms(regression_weight=1.5, task_weight=0.3, task_matched=True)
    found = match_with_images(network, images, values, 1, real, terms)

    x, f = images.clone().requires_grad_(), values.clone().requires_grad_()
    targets = torch.ones(2, dtype=torch.int64)
    z = network.features(x)
    loss = F.cross_entropy(network.classify(z), targets) + 1.5 * F.mse_loss(z, f)
    loss = loss + 0.3 * F.cross_entropy(network.classify(f), targets)
    own = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
    distance = gradient_distance(own, real)
    for_x, for_f = torch.autograd.grad(distance, [x, f])
    torch.testing.assert_close(found.value, distance.detach())
    torch.testing.assert_close(found.images, for_x)
    torch.testing.assert_close(found.labels, for_f)


def test_the_drift_of_pooled_labels_is_that_of_what_is_stored(ctx, condensed):
    """Of maps whose pixels move apart without their mean, nothing that is shipped has moved."""
    kind = ChannelAttention(AttentionOptions(**SMALL))
    state = kind.init(condensed, ctx)
    apart = torch.tensor([1.0, -1.0]).expand(state.values.shape)
    state.values = state.start + apart
    assert kind.finish(state).metrics["label_drift"] == pytest.approx(0, abs=1e-6)
    state.values = state.start * 1.5
    assert kind.finish(state).metrics["label_drift"] == pytest.approx(0.5)


def test_labels_that_began_at_zero_have_no_drift(ctx, condensed):
    kind = feature()
    state = kind.init(condensed, ctx)
    state.start = torch.zeros_like(state.start)
    assert "label_drift" not in kind.finish(state).metrics


def test_labels_are_rounded_when_they_are_stored_and_not_before(ctx, condensed, monkeypatch):
    seen = []

    def note(network, labelled, *_):
        seen.append(labelled.privileged[0].values)

    monkeypatch.setattr(subject, "train_between_updates", note)
    kind = feature(storage="int8")
    state = learned(kind, condensed, ctx, steps=1)
    assert torch.equal(seen[0], state.values[0])
    assert not torch.equal(kind.finish(state).labels.values, state.values[0])


def test_without_labels_images_are_tuned_as_dc_tunes_them(ctx, condensed, monkeypatch):
    """Acceptance test 1: lambda = 0 leaves the images on the trajectory of DC."""
    monkeypatch.setattr(type(ctx), "fresh_network", same_networks(type(ctx).fresh_network))
    kind = feature(
        schedule="alternating",
        regression_weight=0.0,
        task_weight=0.0,
        label_task_weight=0.0,
        outer_loops=1,
    )
    state = learned(kind, condensed, ctx)
    dc = DC(DCOptions(iterations=2, real_batch=5))
    own = GradientMatchingState(condensed.images.clone(), torch.zeros_like(condensed.images), {})
    for number in range(2):
        dc.step(own, number, ctx)
    assert torch.equal(state.images, own.images)
    assert torch.equal(state.values, state.start)
    assert torch.equal(kind.finish(state).images, own.images)


def same_networks(original):
    return lambda self, purpose, *position: original(self, "network", *position)


@pytest.mark.parametrize("schedule", ["alternating", "joint"])
def test_tuned_images_move_and_are_given_back(ctx, condensed, schedule):
    kind = feature(schedule=schedule)
    made = kind.finish(learned(kind, condensed, ctx))
    assert made.images.shape == condensed.images.shape
    assert float((made.images - condensed.images).abs().max()) > 1e-4


def test_fixed_images_stay(ctx, condensed):
    kind = feature()
    state = learned(kind, condensed, ctx)
    assert torch.equal(state.images, condensed.images)
    assert kind.finish(state).images is None


def test_equal_labels_stay_equal(ctx, condensed):
    """Acceptance test 3: N equal labels, equal real batches: N equal labels; the mean is each."""
    kind = feature(labels_per_image=3)
    state = kind.init(condensed, ctx)
    state.values = state.values[:1].expand(3, -1, -1, -1, -1).clone()
    for number in range(2):
        kind.step(state, condensed, number, ctx)
    assert torch.equal(state.values[0], state.values[1])
    assert torch.equal(state.values[0], state.values[2])
    torch.testing.assert_close(kind.finish(state).labels.values, state.values[0])
    assert not torch.equal(state.values[0], state.start[0])


@pytest.mark.parametrize("weight", [0.01, 10.0])
def test_an_automatic_step_is_the_same_share_of_the_labels_for_every_weight(ctx, condensed, weight):
    options = {"regression_weight": weight, "label_task_weight": 0.0, "label_momentum": 0.0}
    kind = feature(label_step="auto", outer_loops=1, **options)
    state = learned(kind, condensed, ctx, steps=1)
    moved = (state.values - state.start).square().mean().sqrt()
    share = float(moved / state.start.square().mean().sqrt())
    assert share == pytest.approx(2e-3, rel=1e-4)


def test_labels_may_be_matched_at_trained_networks(ctx, condensed):
    kind = feature(label_networks="trained")
    plans = kind.needs(ctx)
    assert len(plans) == 1 + 4
    assert len({plan.member for plan in plans}) == 5
    state = learned(kind, condensed, ctx)
    assert not torch.equal(state.values, state.start)


@pytest.mark.parametrize(("kind", "axes"), [(SpatialAttention, (1,)), (ChannelAttention, (2, 3))])
def test_attention_is_the_pooling_of_learned_maps(ctx, condensed, kind, axes):
    """Acceptance test 7, first half."""
    full = learned(feature(task_weight=0.0), condensed, ctx)
    attention = kind(AttentionOptions(**SMALL, regression_weight=10.0))
    pooled = attention.finish(attention_state(attention, full, condensed, ctx)).labels
    torch.testing.assert_close(pooled.values, full.values[0].mean(axes, keepdim=True))


def attention_state(kind, full, condensed, ctx):
    state = kind.init(condensed, ctx)
    assert torch.equal(state.start, full.start)
    state.values = full.values
    return state


def test_attention_learned_as_such_has_its_own_shape(ctx, condensed):
    kind = ChannelAttention(AttentionOptions(**SMALL, learned_form="pooled"))
    state = learned(kind, condensed, ctx)
    assert state.values.shape == (1, 6, 128, 1, 1)
    assert not torch.equal(state.values, state.start)
    assert kind.finish(state).labels.values.shape == (6, 128, 1, 1)


def test_labels_kept_apart_are_stored_apart(ctx, condensed):
    kind = feature(labels_per_image=2, combine="random", learning="assigned")
    labels = kind.finish(kind.init(condensed, ctx)).labels
    assert labels.values.shape[:2] == (6, 2)
    assert not torch.equal(labels.values[:, 0], labels.values[:, 1])


def test_labels_are_used_as_they_are_stored(ctx, condensed):
    exact = feature(learning="assigned")
    short = feature(learning="assigned", storage="int8")
    values = exact.finish(exact.init(condensed, ctx)).labels.values
    labels = short.finish(short.init(condensed, ctx)).labels
    assert 0 < float((labels.values - values).abs().max()) < 0.02
    tensors, _ = labels.stored()
    assert torch.equal(type(labels).restore(*labels.stored()).values, labels.values)
    assert tensors["values"].dtype == torch.int8


def test_learning_starts_from_the_base_images(ctx, condensed):
    other = CondensedSet(condensed.images + 1, condensed.labels)
    kind = feature(learning="assigned")
    values = [kind.init(each, ctx).values for each in (condensed, other)]
    assert not torch.equal(*values)
