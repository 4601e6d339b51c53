"""Cosines with real gradients: closed forms, and a student that is only watched."""

import pytest
import torch
from torch.nn import functional as F

from dcpi_core.condensed import CondensedSet
from dcpi_core.evaluation import gradient_alignment as subject
from dcpi_core.evaluation.gradient_alignment import gradient_alignment
from dcpi_core.privileged.features.labels import FeatureLabels, LabelSettings
from dcpi_core.training import Recipe, fit
from tests.core.problems import blobs, context

RECIPE = Recipe(epochs=3)


@pytest.fixture(scope="module")
def ctx(tmp_path_factory):
    return context(blobs(), tmp_path_factory.mktemp("assets"))


def labelled(ctx, weight: float, images=None) -> CondensedSet:
    if images is None:
        index = torch.cat([ctx.train.of_class(label)[:2] for label in range(3)])
        images = ctx.normalised(index)
    shape = ctx.fresh_network("shape").feature_shape()
    draw = torch.Generator().manual_seed(0)
    values = torch.rand((6, *shape), generator=draw)
    settings = LabelSettings(regression_weight=weight, task_weight=0.0)
    labels = torch.arange(3).repeat_interleave(2)
    return CondensedSet(images, labels, (FeatureLabels(values, settings),))


@pytest.fixture(scope="module")
def noisy(ctx):
    """Along both students, with labels of noise that outweigh everything."""
    return gradient_alignment(labelled(ctx, weight=100.0), RECIPE, ctx)


def test_labels_without_weight_change_no_gradient(ctx):
    for found in gradient_alignment(labelled(ctx, weight=0.0), RECIPE, ctx):
        assert found.privileged == pytest.approx(found.base, abs=1e-6)


def test_labels_of_noise_lead_elsewhere(noisy):
    for found in noisy:
        assert found.base[0] > found.privileged[0] + 0.1
        assert all(-1 <= cosine <= 1 for cosine in found.base + found.privileged)


def test_both_follow_the_same_students_until_their_first_step(noisy):
    on_base, on_labels = noisy
    assert (on_base.follows, on_labels.follows) == ("base", "privileged")
    assert on_base.steps == on_labels.steps == (0, 1, 3)
    assert on_base.base[0] == on_labels.base[0]
    assert on_base.base[-1] != on_labels.base[-1]


def test_the_real_set_itself_points_where_it_points(ctx):
    """With all real images in the condensed set, both gradients are one."""
    every = CondensedSet(ctx.normalised(torch.arange(len(ctx.train))), ctx.train.labels)
    for found in gradient_alignment(every, RECIPE, ctx):
        assert found.base == pytest.approx([1.0] * len(found.steps), abs=1e-5)


def test_first_cosine_written_out(ctx):
    shipped = labelled(ctx, weight=3.0)
    network = ctx.fresh_network("alignment", 0).double()
    body = list(network.blocks.parameters())
    real = subject._real_set(ctx, 0)

    def gradient(loss):
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, body)])

    wanted = gradient(F.cross_entropy(network(real.images.double()), real.labels))
    features = network.features(shipped.images.double())
    regression = F.mse_loss(features, shipped.privileged[0].values.double())
    logits = network.classify(features)
    found = gradient(F.cross_entropy(logits, shipped.labels) + 3.0 * regression)
    watcher = subject._Watcher(shipped, ctx, 0)
    watcher._look(0)
    expected = float(F.cosine_similarity(found, wanted, dim=0))
    assert watcher.cosines[0][1] == pytest.approx(expected, abs=1e-4)


def test_watching_does_not_disturb(ctx):
    shipped = labelled(ctx, weight=1.0)
    watcher = subject._Watcher(shipped, ctx, 0)
    watcher.follow(shipped, RECIPE, None)
    alone = ctx.fresh_network("alignment", 0)
    fit(alone, shipped, RECIPE, streams=watcher.streams, runtime=ctx.runtime)
    same = zip(watcher.network.parameters(), alone.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)


def test_the_running_statistics_of_batch_norm_are_not_disturbed_either(tmp_path):
    ctx = context(blobs(), tmp_path, network="ConvNetD2BN")
    watcher = subject._Watcher(labelled(ctx, weight=1.0), ctx, 0)
    before = {name: value.clone() for name, value in watcher.network.state_dict().items()}
    watcher.network.train()
    watcher._look(0)
    assert watcher.network.training
    after = watcher.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_cosines_told_are_means_over_the_students(ctx, noisy):
    shipped = labelled(ctx, weight=100.0)
    cosines = []
    for number in (0, 1):
        watcher = subject._Watcher(shipped, ctx, number)
        watcher.follow(shipped, RECIPE, None)
        cosines.append(watcher.cosines)
    means = torch.tensor(cosines, dtype=torch.float64).mean(0)
    assert noisy[1].students == 2
    assert noisy[1].base == pytest.approx(means[:, 0].tolist())
    assert noisy[1].privileged == pytest.approx(means[:, 1].tolist())


def test_a_long_recipe_is_cut_short(ctx, monkeypatch):
    monkeypatch.setattr(subject, "ALIGNMENT_EPOCHS", 1)
    steps = []
    gradient_alignment(labelled(ctx, 1.0), RECIPE, ctx, lambda step, total: steps.append(total))
    assert set(steps) == {2}  # the published loop runs one epoch more than it says


def test_a_stop_reaches_the_caller(ctx):
    def stop(step, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gradient_alignment(labelled(ctx, 1.0), RECIPE, ctx, stop)
