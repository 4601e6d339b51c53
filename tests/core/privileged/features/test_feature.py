import pytest
import torch
from torch.autograd import forward_ad
from torch.nn import functional as F

from dcpi_core.condensed import CondensedSet
from dcpi_core.networks import build
from dcpi_core.ops.distances import gradient_distance
from dcpi_core.privileged.features.feature import Feature, FeatureOptions
from dcpi_core.privileged.features.labels import FeatureLabels, LabelSettings
from dcpi_core.privileged.features.matching import LabelTerms, match_labels
from dcpi_core.rng import Streams
from dcpi_core.training import objective
from tests.core.problems import CLASSES, blobs, context


def small(**changes):
    defaults = {"teacher_epochs": 2, "teacher_min_steps": 0, "iterations": 2, "real_batch": 5}
    defaults["storage"] = "float32"
    return Feature(FeatureOptions(**(defaults | changes)))


def test_assigned_labels_are_the_teachers_features_of_the_images(ctx, condensed):
    kind = small()
    state = kind.init(condensed, ctx)
    made = kind.finish(state)
    teacher = ctx.trained_network(kind.needs(ctx)[0]).network(ctx.facts, ctx.runtime)
    with torch.no_grad():
        torch.testing.assert_close(made.labels.values, teacher.features(condensed.images))
    assert kind.total_steps(ctx) == 0
    assert made.metrics["label_drift"] == 0.0
    assert made.images is None


def test_several_labels_per_image_are_averaged_over_independent_teachers(ctx, condensed):
    kind = small(labels_per_image=2)
    singles = []
    for plan in kind.needs(ctx):
        network = ctx.trained_network(plan).network(ctx.facts, ctx.runtime)
        with torch.no_grad():
            singles.append(network.features(condensed.images))
    assert not torch.allclose(singles[0], singles[1])
    labels = kind.finish(kind.init(condensed, ctx)).labels
    torch.testing.assert_close(labels.values, (singles[0] + singles[1]) / 2)


def matching_problem(dtype=torch.float64):
    streams = Streams(3)
    with streams.initialisation("network"):
        network = build("ConvNetD2", 3, CLASSES, 8).to(dtype)
    draw = streams.generator("data")
    images = torch.randn(2, 3, 8, 8, generator=draw, dtype=dtype)
    real_images = torch.randn(5, 3, 8, 8, generator=draw, dtype=dtype)
    values = torch.rand(2, *network.feature_shape(), generator=draw, dtype=dtype)
    real = torch.autograd.grad(
        F.cross_entropy(network(real_images), torch.ones(5, dtype=torch.int64)),
        list(network.parameters()),
    )
    return network, images, values, list(real)


@pytest.mark.parametrize(("weight", "task"), [(0.5, 0.0), (1.5, 0.1), (10.0, 1.0)])
def test_label_gradient_equals_double_backward(weight, task):
    """Acceptance test 2 of the paper's method: the closed form against plain autograd."""
    network, images, values, real = matching_problem()
    terms = LabelTerms(regression_weight=weight, task_weight=task)
    with forward_ad.dual_level():
        value, gradient, _ = match_labels(network, images, values, 1, real, terms)

    own = values.clone().requires_grad_()
    targets = torch.ones(2, dtype=torch.int64)
    features = network.features(images)
    loss = F.cross_entropy(network.classify(features), targets)
    loss = loss + weight * F.mse_loss(features, own)
    found = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
    total = gradient_distance(found, real)
    total = total + task * F.cross_entropy(network.classify(own), targets)
    (expected,) = torch.autograd.grad(total, own)

    torch.testing.assert_close(value, total.detach(), rtol=1e-8, atol=0)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-12)


def test_without_regression_nothing_is_learned_from_matching():
    """Acceptance test 1: lambda = 0 gives a label gradient of exactly zero."""
    network, images, values, real = matching_problem()
    terms = LabelTerms(regression_weight=0.0, task_weight=0.0)
    with forward_ad.dual_level():
        gradient = match_labels(network, images, values, 1, real, terms).labels
    assert bool((gradient == 0).all())


def test_classifier_rows_do_not_move_the_labels():
    """Acceptance test 2, second half: only the extractor's gradients depend on f*."""
    network, images, values, real = matching_problem()
    terms = LabelTerms(regression_weight=1.5, task_weight=0.0)
    other = [*real[:-2], real[-2].flip(0), real[-1]]  # another gradient for the classifier
    with forward_ad.dual_level():
        gradient = match_labels(network, images, values, 1, real, terms).labels
        same = match_labels(network, images, values, 1, other, terms).labels
    torch.testing.assert_close(gradient, same, rtol=1e-10, atol=1e-15)


def test_the_mean_of_errors_and_the_error_to_the_mean_train_alike():
    """Acceptance test 4: N averaged labels are one label."""
    network, images, values, _ = matching_problem()
    others = values.flip(0)
    targets = torch.ones(2, dtype=torch.int64)
    parameters = list(network.parameters())
    weights = [LabelSettings(regression_weight=w, task_weight=0.0) for w in (0.5, 1.0)]
    half = [FeatureLabels(v, weights[0]) for v in (values, others)]
    mean = [FeatureLabels((values + others) / 2, weights[1])]
    both = (
        torch.autograd.grad(objective(network, images, targets, labels), parameters)
        for labels in (half, mean)
    )
    for ours, theirs in zip(*both, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_learning_moves_the_labels_and_reports_by_how_much(ctx, condensed):
    kind = small(learning="gradient_matching", regression_weight=5.0, outer_loops=2)
    state = kind.init(condensed, ctx)
    assert kind.total_steps(ctx) == 4
    for number in range(4):
        metrics = kind.step(state, condensed, number, ctx)
    made = kind.finish(state)
    start = kind.assigned(state).values
    drift = float((made.labels.values - start).norm() / start.norm())
    assert drift > 0
    assert metrics["label_drift"] == made.metrics["label_drift"] == pytest.approx(drift)


def test_side_by_side_gives_the_labels_of_one_after_the_other(tmp_path):
    """Large enough that the classes of a step really overlap in time."""
    source, found = blobs(side=32), []
    for threads in (1, 2):
        ctx = context(source, tmp_path, threads=threads)
        condensed = CondensedSet(ctx.normalised(torch.arange(0, 60, 10)), ctx.hard_labels())
        kind = small(learning="gradient_matching", iterations=4, real_batch=8)
        state = kind.init(condensed, ctx)
        for number in range(4):
            kind.step(state, condensed, number, ctx)
        found.append(state.values)
    assert found[0].abs().sum() > 0
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_a_heavy_task_term_makes_labels_discriminative(ctx, condensed):
    """Acceptance test 5: beta large, lambda 0: the task loss falls."""
    kind = small(
        learning="gradient_matching",
        label_step="fixed",
        regression_weight=0.0,
        label_task_weight=50.0,
        label_init="noise",
        iterations=15,
    )
    state = kind.init(condensed, ctx)

    def separation():
        groups = state.values[0].flatten(1).view(CLASSES, 2, -1)
        between = groups.mean(1).var(0).sum()
        return float(between / groups.var(1).mean(0).sum())

    def task_loss():
        """Of Eq. 4, over the networks that the labels were moved at."""
        networks = [kind._network(number, ctx) for number in range(15)]
        with torch.no_grad():
            logits = [network.classify(state.values[0]) for network in networks]
        return float(sum(F.cross_entropy(own, condensed.labels) for own in logits))

    before = separation(), task_loss()
    for number in range(15):
        kind.step(state, condensed, number, ctx)
    assert separation() > before[0]
    assert task_loss() < 0.9 * before[1]


def test_noise_has_no_teacher_and_so_none_to_tell_of(ctx, condensed):
    kind = small(learning="gradient_matching", label_init="noise")
    made = kind.finish(kind.init(condensed, ctx))
    assert made.labels.settings.teacher == "noise"
    assert set(made.metrics) == {"label_drift"}


def test_labels_survive_storage(ctx, condensed):
    labels = small().finish(small().init(condensed, ctx)).labels
    again = FeatureLabels.restore(*labels.stored())
    assert torch.equal(again.values, labels.values)
    assert again.stored()[1] == labels.stored()[1]
