"""What students do with labels of features: layers, poolings, alignment, choice by chance."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dcpi_core.compute import Runtime
from dcpi_core.condensed import CondensedSet
from dcpi_core.networks import build
from dcpi_core.ops.losses import channel_cross_entropy, contrast
from dcpi_core.privileged.features.labels import (
    ChannelAttentionLabels,
    FeatureLabels,
    LabelSettings,
    SpatialAttentionLabels,
)
from dcpi_core.privileged.features.storage import as_stored
from dcpi_core.rng import Streams
from dcpi_core.training import (
    Recipe,
    apply_gradients,
    fit,
    gradients,
    objective,
    sgd,
    student_output,
    trainable,
)
from tests.core.problems import CLASSES

SIDE = 32
RUNTIME = Runtime.choose("cpu", threads=1)


def student(name="ConvNetD3", seed=0, width=16):
    with Streams(seed).initialisation("student"):
        return (
            build(name, 3, CLASSES, SIDE, width=width)
            if "Conv" in name
            else build(name, 3, CLASSES, SIDE)
        )


@pytest.fixture(scope="module")
def images():
    return torch.randn(6, 3, SIDE, SIDE, generator=Streams(1).generator("images"))


@pytest.fixture(scope="module")
def targets():
    return torch.arange(CLASSES).repeat_interleave(2)


def random_labels(kind, shape, **settings):
    values = torch.rand(6, *shape, generator=Streams(2).generator("labels"))
    return kind(values, LabelSettings(**settings))


@pytest.mark.parametrize(
    ("layer", "number", "shape"),
    [("first", 1, (16, 16, 16)), ("second", 2, (16, 8, 8)), ("final", 3, (16, 4, 4))],
)
def test_a_layer_is_the_map_after_its_pooling(images, targets, layer, number, shape):
    network = student()
    labels = random_labels(
        FeatureLabels, shape, layer=layer, regression_weight=3.0, task_weight=0.5
    )
    found = network.features(images, number)
    rest = labels.values
    for block in network.blocks[number:]:
        rest = block(rest)
    expected = (
        F.cross_entropy(network(images), targets)
        + 3.0 * (found - labels.values).square().mean()
        + 0.5 * F.cross_entropy(network.classifier(rest.flatten(1)), targets)
    )
    parameters = list(network.parameters())
    wanted = torch.autograd.grad(expected, parameters)
    value = objective(network, images, targets, [labels])
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(torch.autograd.grad(value, parameters), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("pooling", ["average", "maximum"])
@pytest.mark.parametrize(
    ("kind", "axes", "shape"),
    [(SpatialAttentionLabels, (1,), (1, 4, 4)), (ChannelAttentionLabels, (2, 3), (16, 1, 1))],
)
def test_attention_compares_pooled_maps(images, targets, kind, axes, shape, pooling):
    network = student()
    labels = random_labels(kind, shape, pooling=pooling, regression_weight=2.0, task_weight=0.0)
    features = network.features(images)
    pooled = features.mean(axes, True) if pooling == "average" else features.amax(axes, True)
    expected = F.cross_entropy(network(images), targets) + 2.0 * F.mse_loss(pooled, labels.values)
    torch.testing.assert_close(objective(network, images, targets, [labels]), expected)


@pytest.mark.parametrize(
    "name", ["ConvNetD3", "ConvNetD4", "LeNet", "MLP", "AlexNet", "VGG11", "ResNet18"]
)
@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (FeatureLabels, (128, 4, 4)),
        (SpatialAttentionLabels, (1, 4, 4)),
        (ChannelAttentionLabels, (128, 1, 1)),
    ],
)
def test_every_student_learns_from_labels_of_another_shape(images, targets, name, kind, shape):
    network = student(name)
    labels = random_labels(kind, shape).for_student(network, Streams(0))
    value = objective(network, images, targets, [labels])
    before = [p.clone() for p in labels.parameters()]
    found, _ = gradients(network, images, targets, RUNTIME, [labels])
    assert bool(torch.isfinite(value))
    assert len(found) == len(list(network.parameters())) + len(before)
    assert all(bool(gradient.abs().sum() > 0) for gradient in found[-len(before) :] if before)


def test_alignment_is_trained_along_with_the_student(images, targets):
    network = student()
    labels = random_labels(FeatureLabels, (24, 4, 4), regression_weight=10.0)
    aligned = labels.for_student(network, Streams(0))
    trained = trainable(network, [aligned])
    before = [own.detach().clone() for own in aligned.parameters()]
    optimiser, errors = sgd(trained, 0.01, 0.9, 0.0), []
    for _ in range(20):
        found, batch = gradients(network, images, targets, RUNTIME, [aligned])
        apply_gradients(trained, optimiser, found)
        errors.append(float(batch.loss))
    assert errors[-1] < 0.8 * errors[0]
    assert not torch.equal(before[0], next(iter(aligned.parameters())))


@pytest.mark.parametrize(
    ("kind", "shape", "layers"),
    [(FeatureLabels, (16, 8, 8), 1), (SpatialAttentionLabels, (1, 8, 8), 0)],
)
def test_as_many_channels_of_another_network_are_not_the_same_ones(images, kind, shape, layers):
    network = student(width=16)
    aligned = random_labels(kind, shape).for_student(network, Streams(0))
    assert len(aligned.parameters()) == 2 * layers  # weight and bias
    assert torch.isfinite(aligned.loss(output_of(network, images), torch.zeros(6).long()))


@pytest.mark.parametrize("mode", [True, False])
def test_a_students_running_statistics_are_of_images_alone(images, targets, mode):
    """Labels of an earlier block pass batch norm, too, and a test shows images only."""
    labels = random_labels(FeatureLabels, (16, 16, 16), layer="first", task_weight=1.0)
    found = []
    for privileged in ([], [labels]):
        network = student("ConvNetD3BN").train(mode)
        objective(network, images, targets, privileged)
        found.append({name: value.clone() for name, value in network.named_buffers()})
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        assert all(norm.track_running_stats for norm in norms)
    assert found[0].keys() == found[1].keys() != set()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_one_of_several_labels_is_drawn_for_each_image():
    values = torch.arange(4.0).view(1, 4, 1, 1, 1).expand(500, 4, 2, 1, 1).contiguous()
    labels = FeatureLabels(values, LabelSettings())
    drawn = labels.for_batch(Streams(0).generator("draw"))
    assert drawn.values.shape == (500, 2, 1, 1)
    counts = drawn.values[:, 0, 0, 0].long().bincount(minlength=4)
    assert int(counts.min()) > 90
    again = labels.for_batch(Streams(0).generator("draw"))
    assert torch.equal(drawn.values, again.values)


def test_contrast_by_hand():
    """Two images of different classes, orthogonal labels, features equal to them."""
    target = torch.eye(2).view(2, 2, 1, 1)
    found = contrast(target, target, torch.tensor([0, 1]), temperature=1.0)
    expected = torch.log(1 + torch.exp(torch.tensor(-1.0)))
    torch.testing.assert_close(found, expected)
    assert float(contrast(target, target, torch.tensor([0, 0]))) == 0.0


def test_channels_are_compared_as_distributions():
    target = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    features = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    by_hand = [
        -sum(
            float(target[n, :, y, x].softmax(0)[c] * features[n, :, y, x].log_softmax(0)[c])
            for c in range(3)
        )
        for n in range(2)
        for y in range(2)
        for x in range(2)
    ]
    found = channel_cross_entropy(features, target)
    assert float(found) == pytest.approx(sum(by_hand) / 8, rel=1e-5)
    brighter = target + torch.tensor([1.0, -2.0]).view(2, 1, 1, 1)
    assert torch.allclose(channel_cross_entropy(brighter, target), least(target))
    assert float(found) > float(least(target))


def least(target):
    return -(target.softmax(1) * target.log_softmax(1)).sum(1).mean()


def test_a_single_channel_is_compared_over_its_pixels():
    target = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    found = channel_cross_entropy(target, target)
    assert torch.allclose(found, least(target.flatten(1)))
    assert float(channel_cross_entropy(target.flip(3), target)) > float(found)


def test_the_channel_term_is_added_with_its_weight(images, targets):
    network, labels = student("ConvNetD3"), random_labels(FeatureLabels, (16, 4, 4))
    more = replace(labels, settings=replace(labels.settings, channel_weight=0.5))
    plain, found = (objective(network, images, targets, [own]) for own in (labels, more))
    features = network.features(images)
    term = channel_cross_entropy(features, labels.values)
    torch.testing.assert_close(found - plain, 0.5 * term, rtol=1e-4, atol=1e-5)


def test_labels_without_the_channel_term_are_stored_as_before_there_was_one():
    labels = random_labels(FeatureLabels, (2, 2, 2))
    assert "channel_weight" not in labels.stored()[1]
    more = replace(labels, settings=replace(labels.settings, channel_weight=0.5))
    tensors, settings = more.stored()
    assert FeatureLabels.restore(tensors, settings).settings == more.settings


def test_a_view_of_an_image_keeps_the_label_of_the_image():
    """Flips and crops move no spatial label, whatever the protocol does to the images."""
    seen = []

    class Watched(SpatialAttentionLabels):
        def loss(self, output, labels):
            seen.append(self.values)
            return super().loss(output, labels)

    values = torch.arange(16.0).view(1, 1, 4, 4)
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    condensed = CondensedSet(images, torch.tensor([0]), (Watched(values, LabelSettings()),))
    for augmentation in ("flip_shift", "dsa"):
        fit(student("ConvNetD3"), condensed, Recipe(epochs=2, augmentation=augmentation))
    assert len(seen) == 6
    assert all(torch.equal(each, values) for each in seen)


def test_contrast_sees_the_batch_whole(images, targets):
    network = student()
    labels = random_labels(FeatureLabels, (16, 4, 4), contrast_weight=0.1)
    assert labels.joint
    small = type(RUNTIME)(RUNTIME.device, 1, micro_batch=2)
    for ours, theirs in zip(
        gradients(network, images, targets, small, [labels])[0],
        gradients(network, images, targets, RUNTIME, [labels])[0],
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
@pytest.mark.parametrize("kind", [FeatureLabels, SpatialAttentionLabels, ChannelAttentionLabels])
def test_labels_survive_storage(kind, storage):
    values = as_stored(torch.rand(6, 16, 4, 4), storage)
    labels = kind(values, LabelSettings(layer="second", storage=storage, teacher="abc"))
    again = kind.restore(*labels.stored())
    assert torch.equal(again.values, values)
    assert torch.equal(labels.as_values(), values)
    assert torch.equal(labels.with_values(2 * values).values, 2 * values)
    assert again.settings == labels.settings


def output_of(network, images):
    return student_output(network, images, ["first", "second", "final"])
