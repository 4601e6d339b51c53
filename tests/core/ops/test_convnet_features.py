import pytest
import torch
from torch.nn import functional as F

from dcpi_core.networks import build, first_order_features
from dcpi_core.ops.convnet_features import convnet_features, supports
from dcpi_core.rng import Streams


def network_and_images(depth, channels, size, count=3):
    streams = Streams(depth)
    with streams.initialisation("network"):
        network = build(f"ConvNetD{depth}", channels, 5, size).double()
    draw = streams.generator("images")
    for name, parameter in network.named_parameters():
        if name.endswith((".1.weight", ".1.bias")):  # norms start at one and zero: move them
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=draw)
    images = torch.randn(count, channels, *size, generator=draw, dtype=torch.float64)
    return network, images, torch.arange(count) % 5


@pytest.mark.parametrize(
    ("depth", "channels", "size"),
    [(1, 3, (8, 8)), (2, 1, (8, 8)), (3, 3, (32, 32)), (3, 1, (28, 28)), (2, 3, (16, 24))],
)
def test_features_and_gradients_equal_autograd(depth, channels, size):
    network, images, labels = network_and_images(depth, channels, size)
    body = list(network.blocks.parameters())
    parameters = list(network.parameters())

    features = convnet_features(images, body, network.first_padding)
    loss = F.cross_entropy(network.classify(features), labels)
    fast = torch.autograd.grad(loss, parameters)
    expected_features = network.features(images)
    slow = torch.autograd.grad(F.cross_entropy(network(images), labels), parameters)

    torch.testing.assert_close(features, expected_features)
    for ours, theirs in zip(fast, slow, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-12)


def test_a_flat_image_has_no_infinite_gradient():
    network, images, labels = network_and_images(2, 3, (8, 8))
    images[0] = 0.25  # no variance: instance norm divides by sqrt(eps)
    features = convnet_features(images, list(network.blocks.parameters()))
    loss = F.cross_entropy(network.classify(features), labels)
    torch.testing.assert_close(features, network.features(images))
    assert all(bool(g.isfinite().all()) for g in torch.autograd.grad(loss, features))


def test_second_order_gradients_are_refused_rather_than_wrong():
    network, images, _ = network_and_images(2, 3, (8, 8))
    body = list(network.blocks.parameters())
    features = convnet_features(images, body)
    (gradient,) = torch.autograd.grad(features.square().sum(), body[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("size", "padding", "depth", "expected"),
    [
        ((32, 32), 1, 3, True),
        ((28, 28), 3, 3, True),
        ((28, 28), 1, 3, False),
        ((8, 8), 1, 2, True),
        ((8, 8), 1, 3, False),
        ((9, 8), 1, 1, False),
    ],
)
def test_supports(size, padding, depth, expected):
    assert supports(size, padding, depth) is expected


def test_the_fast_path_is_taken_where_it_fits_and_only_there():
    streams = Streams(0)
    with streams.initialisation("network"):
        plain, batch_norm = build("ConvNetD2", 3, 5, 8), build("ConvNetD2BN", 3, 5, 8)
    images = torch.randn(2, 3, 8, 8, generator=streams.generator("images"))
    assert "_Features" in type(_maker(first_order_features(plain, images))).__name__
    assert "_Features" not in type(_maker(first_order_features(batch_norm, images))).__name__
    needs_gradient = images.clone().requires_grad_()
    assert "_Features" not in type(_maker(first_order_features(plain, needs_gradient))).__name__


def _maker(features: torch.Tensor) -> object:
    return features.grad_fn
