"""Labels learned by matching class means: against autograd, and what the solution promises."""

from dataclasses import replace

import pytest
import torch

from dcpi_core import compute
from dcpi_core.condensed import CondensedSet
from dcpi_core.ops.pooling import pool
from dcpi_core.privileged.features.attention import AttentionOptions, ChannelAttention
from dcpi_core.privileged.features.distribution import class_means, pooled_features, with_means
from dcpi_core.privileged.features.feature import Feature, FeatureOptions

SMALL = {"teacher_epochs": 2, "teacher_min_steps": 0, "learning": "distribution_matching"}


def learned(kind, condensed, ctx):
    state = kind.init(condensed, ctx)
    assert kind.total_steps(ctx) == 1
    metrics = kind.step(state, condensed, 0, ctx)
    assert all(isinstance(value, float) for value in metrics.values())
    return state, metrics


def draws(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("per_class", [1, 2, 5])
def test_it_is_where_descent_on_the_penalised_objective_ends(per_class):
    """The constraint as a penalty: its minimiser tends to ours as the penalty grows."""
    start, means = draws(3 * per_class, 4, 2, 2, seed=0), draws(3, 4, 2, 2, seed=1)
    found = with_means(start, means)
    gaps = []
    for weight in (1.0, 100.0, 10_000.0):
        values = start.clone().requires_grad_()
        for _ in range(30):
            own = values.view(3, per_class, 4, 2, 2).mean(1)
            penalised = (values - start).square().sum() / per_class
            penalised = penalised + weight * (own - means).square().sum()
            (gradient,) = torch.autograd.grad(penalised, values)
            step = per_class / (2 * (1 + weight))
            values = (values - step * gradient).detach().requires_grad_()
        gaps.append(float((values - found).detach().abs().max()))
    assert gaps[0] > 10 * gaps[1] > 100 * gaps[2]
    assert gaps[2] < 1e-3


def test_no_other_labels_with_these_means_are_nearer():
    """The change is at right angles to every change that leaves the means alone."""
    start, means = draws(12, 5, seed=0), draws(3, 5, seed=1)
    found = with_means(start, means)
    other = draws(3, 4, 5, seed=2)
    sideways = (other - other.mean(1, keepdim=True)).view(12, 5)
    assert abs(float(((found - start) * sideways).sum())) < 1e-12
    torch.testing.assert_close(found.view(3, 4, 5).mean(1), means)


def test_a_set_of_any_size_is_passed_in_pieces(ctx, condensed, monkeypatch):
    """Where there is no limit to a batch there is one to a set; the values are the same."""
    view = ("final", "map", "average")
    network = ctx.fresh_network("any").eval()
    whole = pooled_features(network, condensed.images, *view, ctx)
    passed = []
    network.blocks[0].register_forward_pre_hook(lambda _, given: passed.append(len(given[0])))
    unlimited = replace(ctx, runtime=replace(ctx.runtime, micro_batch=None))
    monkeypatch.setattr(compute, "WHOLE_SET_BATCH", 4)
    torch.testing.assert_close(pooled_features(network, condensed.images, *view, unlimited), whole)
    assert passed == [3, 3]


def test_labels_get_the_means_of_the_real_classes(ctx, condensed):
    """Compared with the plain mean over each class of what the teacher makes of every image."""
    kind = Feature(FeatureOptions(**SMALL, labels_per_image=2))
    state, metrics = learned(kind, condensed, ctx)
    for plan, values, start in zip(kind.needs(ctx), state.values, state.start, strict=True):
        teacher = ctx.trained_network(plan).network(ctx.facts, ctx.runtime)
        with torch.no_grad():
            real = teacher.features(ctx.normalised(torch.arange(len(ctx.train))))
        means = torch.stack([real[ctx.train.labels == c].mean(0) for c in range(3)])
        torch.testing.assert_close(values.view(3, 2, *means.shape[1:]).mean(1), means)
        moved = (values - start).view(3, 2, -1)
        torch.testing.assert_close(moved[:, 0], moved[:, 1])  # alike for all labels of a class
    assert metrics["loss"] > 0
    assert metrics["label_drift"] > 0.01
    assert kind.finish(state).images is None


@pytest.mark.parametrize("threads", [1, 2])
def test_no_graph_of_the_training_set_is_kept(ctx, monkeypatch, threads):
    made = []

    def spy(*given):
        made.append(pool(*given))
        return made[-1]

    monkeypatch.setattr("dcpi_core.privileged.features.distribution.pool", spy)
    several = replace(ctx, runtime=replace(ctx.runtime, threads=threads))
    class_means(ctx.fresh_network("any"), "final", "map", "average", several)
    assert len(made) >= 3
    assert not any(piece.requires_grad for piece in made)


def test_one_image_per_class_gets_its_class_mean(ctx, condensed):
    one = CondensedSet(condensed.images[::2], condensed.labels[::2])
    kind = Feature(FeatureOptions(**SMALL, layer="first"))
    state, _ = learned(kind, one, ctx)
    teacher = ctx.trained_network(*kind.needs(ctx)).network(ctx.facts, ctx.runtime)
    torch.testing.assert_close(
        state.values[0], class_means(teacher, "first", "map", "average", ctx)
    )


def test_noise_keeps_its_shape_around_the_class_means(ctx, condensed):
    kind = Feature(FeatureOptions(**SMALL, label_init="noise"))
    state, _ = learned(kind, condensed, ctx)
    (plan,) = kind.needs(ctx)  # whose means they are, and whose word the labels carry
    made = kind.finish(state)
    assert made.labels.settings.teacher == plan.digest(ctx.facts.fingerprint)
    accuracy = ctx.trained_network(plan).train_accuracy
    assert made.metrics["teacher_train_accuracy"] == accuracy
    ends, starts = (v.view(3, 2, -1) for v in (state.values, state.start))
    torch.testing.assert_close(ends[:, 0] - ends[:, 1], starts[:, 0] - starts[:, 1])


def test_average_pooling_commutes_with_learning(ctx, condensed):
    """Attention learned as such is the pooling of learned maps: both are means."""
    maps, _ = learned(Feature(FeatureOptions(**SMALL)), condensed, ctx)
    pooled = ChannelAttention(AttentionOptions(**SMALL, learned_form="pooled"))
    state, _ = learned(pooled, condensed, ctx)
    torch.testing.assert_close(state.values[0], pool(maps.values[0], "channel"))
