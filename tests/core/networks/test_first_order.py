"""The fast features against the ordinary ones: same values, same parameter gradients."""

import pytest
import torch
from torch.nn import functional as F

from dcpi_core.networks import build, first_order_features
from dcpi_core.networks import first_order as module
from dcpi_core.rng import Streams


@pytest.fixture
def fast_calls(monkeypatch):
    """Counts how often the fast way is taken."""
    calls = []
    fast = module.convnet_maps

    def counting(*arguments):
        calls.append(arguments)
        return fast(*arguments)

    monkeypatch.setattr(module, "convnet_maps", counting)
    return calls


def network_and_images(name="ConvNetD3", channels=3, side=32, **options):
    with Streams(5).initialisation("test"):
        network = build(name, channels, 4, side, **({"width": 16} | options))
        for parameter in network.parameters():  # norms away from one and zero
            parameter.data += 0.1 * torch.randn(parameter.shape)
        return network, torch.randn(5, channels, side, side)


@pytest.mark.parametrize(
    ("name", "channels", "side"), [("ConvNetD3", 3, 32), ("ConvNetD3", 1, 28), ("ConvNetD2", 1, 8)]
)
def test_values_and_gradients(name, channels, side, fast_calls):
    network, images = network_and_images(name, channels, side)
    labels = torch.tensor([0, 1, 2, 3, 0])
    found = []
    for features in (network.features(images), first_order_features(network, images)):
        loss = F.cross_entropy(network.classify(features), labels)
        found.append((features, torch.autograd.grad(loss, list(network.parameters()))))
    (plain, slow), (fast, quick) = found
    assert len(fast_calls) == 1
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)
    for a, b in zip(quick, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "options", [{"norm": "batch"}, {"activation": "swish"}, {"pooling": "max"}, {"norm": "none"}]
)
def test_other_networks_take_the_ordinary_way(options, fast_calls):
    network, images = network_and_images("ConvNet", **options)
    torch.testing.assert_close(first_order_features(network, images), network.features(images))
    assert fast_calls == []


def test_other_families_sizes_and_types_take_the_ordinary_way(fast_calls):
    mlp, images = network_and_images("MLP")
    assert torch.equal(first_order_features(mlp, images), mlp.features(images))
    network, images = network_and_images(side=20)
    assert torch.equal(first_order_features(network, images), network.features(images))
    network, images = network_and_images()
    first_order_features(network.double(), images.double())
    assert fast_calls == []


def test_image_gradients_are_never_lost(fast_calls):
    network, images = network_and_images()
    images.requires_grad_()
    (gradient,) = torch.autograd.grad(first_order_features(network, images).sum(), images)
    assert gradient.abs().max() > 0
    assert fast_calls == []
