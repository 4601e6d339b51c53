import threading
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from dcpi_core import training
from dcpi_core.compute import Runtime
from dcpi_core.condensed import CondensedSet
from dcpi_core.networks import build
from dcpi_core.privileged.features.labels import FeatureLabels, LabelSettings
from dcpi_core.privileged.soft import SoftLabels
from dcpi_core.rng import Streams
from dcpi_core.spec.errors import InvalidInput, TrainingDiverged
from dcpi_core.training import Recipe, fit, gradients, objective, predict
from tests.core.problems import CLASSES, blobs

WHOLE = Runtime(torch.device("cpu"), 1, None)
PIECES = Runtime(torch.device("cpu"), 1, 3)


@pytest.fixture
def condensed():
    draw = Streams(1).generator("images")
    labels = torch.arange(CLASSES).repeat_interleave(3)
    return CondensedSet(torch.randn(9, 3, 8, 8, generator=draw), labels)


def network(name="ConvNetD2", seed=0):
    with Streams(seed).initialisation("network"):
        return build(name, 3, CLASSES, 8)


def feature_labels(count, weight=2.0, task=0.5):
    draw = Streams(2).generator("labels")
    values = torch.rand(count, *network().feature_shape(), generator=draw)
    return FeatureLabels(values, LabelSettings(regression_weight=weight, task_weight=task))


def test_published_schedule():
    rates = Recipe(epochs=300).learning_rates()
    assert len(rates) == 301  # one more than it says
    assert rates[151] == 0.01
    assert rates[152] == pytest.approx(0.001)


def test_objective_is_equation_5(condensed):
    student, labels = network(), feature_labels(9)
    features = student.features(condensed.images)
    expected = (
        F.cross_entropy(student.classify(features), condensed.labels)
        + 2.0 * ((features - labels.values) ** 2).mean()
        + 0.5 * F.cross_entropy(student.classify(labels.values), condensed.labels)
    )
    found = objective(student, condensed.images, condensed.labels, [labels])
    torch.testing.assert_close(found, expected)


def test_soft_labels_replace_the_hard_ones(condensed):
    student = network()
    probabilities = torch.softmax(torch.arange(27.0).view(9, 3) / 9, dim=1)
    found = objective(student, condensed.images, condensed.labels, [SoftLabels(probabilities)])
    expected = F.cross_entropy(student(condensed.images), probabilities)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["ConvNetD2", "ConvNetD2BN", "LeNet", "MLP"])
def test_pieces_and_whole_batches_have_the_same_gradient(name, condensed):
    if name == "LeNet":  # needs 32 pixels
        draw = Streams(3).generator("large")
        images = torch.randn(9, 3, 32, 32, generator=draw)
        with Streams(0).initialisation("network"):
            student = build(name, 3, CLASSES, 32)
    else:
        images, student = condensed.images, network(name)
    whole, _ = gradients(student, images, condensed.labels, WHOLE)
    pieces, _ = gradients(student, images, condensed.labels, PIECES)
    for a, b in zip(whole, pieces, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_privileged_labels_are_cut_with_the_batch(condensed):
    student = network()
    labels = (feature_labels(9),)
    _, batch = gradients(student, condensed.images, condensed.labels, PIECES, labels)
    expected = objective(student, condensed.images, condensed.labels, labels)
    torch.testing.assert_close(batch.loss, expected.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(batch.logits, student(condensed.images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("runtime", [WHOLE, PIECES], ids=["whole", "pieces"])
def test_a_weight_counts_an_image_so_many_times(condensed, runtime):
    times = torch.tensor([1, 2, 1, 0, 3, 1, 1, 0, 2])
    weights = times.float() / times.float().mean()
    images, labels = condensed.images, condensed.labels
    weighted, _ = gradients(network(), images, labels, runtime, (), weights)
    repeated = torch.arange(9).repeat_interleave(times)
    plain, _ = gradients(network(), images[repeated], labels[repeated], WHOLE)
    for one, other in zip(weighted, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_fit_ignores_an_image_of_weight_zero(condensed):
    weights = torch.tensor([1.0, 1, 1, 1, 1, 1, 1, 1, 1])
    weights[0] = 0
    recipe = Recipe(epochs=2)
    spoiled = condensed.images.clone()
    spoiled[0] = 99
    first, second = (
        fit(network(), replace(condensed, images=images, weights=weights), recipe, runtime=WHOLE)
        for images in (condensed.images, spoiled)
    )
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_fit_learns_and_is_reproducible(condensed):
    recipe = Recipe(epochs=30)
    first = fit(network(), condensed, recipe, streams=Streams(4), runtime=WHOLE)
    second = fit(network(), condensed, recipe, streams=Streams(4), runtime=WHOLE)
    assert torch.equal(first.classifier.weight, second.classifier.weight)
    with torch.no_grad():
        assert (first(condensed.images).argmax(1) == condensed.labels).all()


def test_fit_calls_back_after_every_step(condensed):
    steps = []
    recipe = Recipe(epochs=2, batch_size=4)
    fit(network(), condensed, recipe, runtime=WHOLE, on_step=lambda *at: steps.append(at))
    assert steps == [(i + 1, 9) for i in range(9)]


def test_divergence_is_an_error(condensed):
    recipe = Recipe(epochs=20, learning_rate=1e20)
    with pytest.raises(TrainingDiverged, match="NaN or infinite"):
        fit(network(), condensed, recipe, runtime=WHOLE)


def test_labels_of_another_shape_need_alignment(condensed):
    labels = FeatureLabels(torch.zeros(9, 5, 1, 1), LabelSettings())
    with pytest.raises(InvalidInput, match="fit` aligns them"):
        objective(network(), condensed.images, condensed.labels, [labels])


def test_blobs_can_be_learned():
    """The problem that the other tests condense is neither trivial nor hopeless."""
    source = blobs()
    images = source.normalise(source.train.images)
    student = fit(
        network(), CondensedSet(images, source.train.labels), Recipe(epochs=10), runtime=WHOLE
    )
    with torch.no_grad():
        predicted = student(source.normalise(source.test.images)).argmax(1)
    assert (predicted == source.test.labels).float().mean() > 0.8


class TestPredict:
    def test_pieces_are_the_whole_in_order_and_need_no_gradient(self, condensed):
        student = network()
        whole, pieces = (
            [torch.cat(same) for same in zip(*found, strict=True)]
            for found in (
                predict(student, iter([condensed.images]), WHOLE),
                predict(student, iter([condensed.images]), PIECES),
            )
        )
        expected = student.features(condensed.images)
        for features, logits in (whole, pieces):
            torch.testing.assert_close(features, expected)
            torch.testing.assert_close(logits, student.classify(expected))
            assert not features.requires_grad
            assert not logits.requires_grad

    def test_alone_a_piece_is_computed_when_it_is_asked_for(self, condensed):
        """So that the outputs of a large set need not all be in a GPU's memory at once."""
        passed, student = [], network("MLP")
        student.blocks[0].register_forward_pre_hook(lambda *_: passed.append(None))
        next(predict(student, iter([condensed.images]), PIECES))
        assert len(passed) == 1

    def test_test_images_travel_as_bytes(self, monkeypatch):
        source, seen = blobs(), []

        def noted(images, facts):
            seen.append(images.device.type)
            return torch.zeros(images.shape)

        def nothing(network, batches, runtime):
            return [(None, torch.zeros(len(batch), 3)) for batch in batches]

        monkeypatch.setattr(training, "normalise", noted)
        monkeypatch.setattr(training, "predict", nothing)
        elsewhere = Runtime(torch.device("meta"), 1, None)
        found = training.logits_on(network(), source.test, source.facts, elsewhere)
        assert found.shape == (60, 3)
        assert set(seen) == {"meta"}

    def test_pieces_are_computed_side_by_side(self, condensed):
        both_here = threading.Barrier(2, timeout=10)
        student = network("MLP")

        def meet(*_):
            both_here.wait()  # passes only if two pieces are at work at once

        student.blocks[0].register_forward_pre_hook(meet)
        side_by_side = Runtime(torch.device("cpu"), 2, 5)
        found = list(predict(student, iter([condensed.images]), side_by_side))
        assert [len(logits) for _, logits in found] == [4, 5]
