"""What every registered network promises, whatever its architecture."""

import pytest
import torch
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from dcpi_core.networks import Network, build
from dcpi_core.registry import NETWORKS
from dcpi_core.rng import Streams

NAMES = [entry.name for entry in NETWORKS]
FAMILIES = ["ConvNetD2", "LeNet", "MLP", "AlexNet", "VGG11", "ResNet18"]
SMALL = {"MLP", "ConvNet"}  # families that take a width


def small(name: str, channels: int = 3, side: int = 32, **options) -> Network:
    """A network as narrow as its family allows, the same on every call."""
    family = NETWORKS.get(name).facts["family"]
    if family in SMALL and "width" not in NETWORKS.get(name).facts["fixed"]:
        options = {"width": 8} | options
    with Streams(3).initialisation("test"):
        return build(name, channels, 5, side, **options)


def images(count: int = 2, channels: int = 3, side: int = 32) -> torch.Tensor:
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(0))


def test_the_walk_sees_the_zoo():
    published = {"ConvNet", "MLP", "LeNet", "AlexNet", "AlexNetBN", "VGG11", "VGG11BN"}
    published |= {"ResNet18", "ResNet18BN", "ConvNetBN", "ConvNetD3BN", "ConvNetNN", "ConvNetLN"}
    published |= {"ConvNetIN", "ConvNetGN", "ConvNetW32", "ConvNetW64", "ConvNetW128"}
    published |= {"ConvNetW256"} | {f"ConvNetD{depth}" for depth in range(1, 9)}
    assert published <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
class TestEveryNetwork:
    def test_shapes_are_those_announced(self, name):
        """At the size of its depth; deeper ConvNets need larger images."""
        depth = NETWORKS.get(name).facts["fixed"].get("depth", 3)
        side = max(32, 2**depth)
        network = small(name, side=side).eval()
        x = images(side=side)
        with torch.no_grad():
            features = network.features(x)
            for layer in range(1, network.num_layers + 1):
                found = network.features(x, layer)
                assert tuple(found.shape) == (2, *network.feature_shape(layer))
            torch.testing.assert_close(found, features, rtol=0, atol=0)
            torch.testing.assert_close(network.classify(features), network(x), rtol=0, atol=0)
        assert network(x).shape == (2, 5)
        assert (network.in_channels, network.num_classes) == (3, 5)
        assert network.image_size == (side, side)

    def test_facts_fit_the_catalogue(self, name):
        entry = NETWORKS.get(name)
        defaults = entry.options().model_dump()
        assert entry.facts["fixed"].items() <= defaults.items()
        assert set(entry.options.model_json_schema().get("properties", {})) == set(defaults)


@pytest.mark.parametrize("name", [*FAMILIES, "AlexNetBN", "VGG11BN", "ResNet18BN", "ConvNetD3BN"])
@pytest.mark.parametrize("side", [28, 32])
def test_gray_and_colour_give_the_same_features_shape(name, side):
    """A gray 28 x 28 image is padded to 32 x 32, so nothing after the first layer differs."""
    if side == 32:
        assert small(name, 3, 32).feature_shape() == small(name, 1, 28).feature_shape()
    else:
        network = small(name, 1, 28).eval()
        assert tuple(network.features(images(2, 1, 28)).shape[1:]) == network.feature_shape()


def test_only_gray_28_is_padded():
    assert build("ConvNetD2", 1, 3, 8, width=4).feature_shape() == (4, 2, 2)
    assert build("ConvNetD3", 3, 3, 28, width=4).feature_shape() == (4, 3, 3)
    assert build("ConvNetD3", 1, 3, 28, width=4).feature_shape() == (4, 4, 4)
    assert build("ConvNetD3", 1, 3, 32, width=4).feature_shape() == (4, 4, 4)


@pytest.mark.parametrize("name", FAMILIES)
def test_functional_call_and_vmap(name):
    """Logits and gradients of two networks at once equal those of each alone."""
    side = 32 if name == "VGG11" else 16
    network, x = small(name, side=side).double(), images(side=side).double()
    first = dict(network.named_parameters())
    second = {key: 0.9 * value + 0.01 for key, value in first.items()}
    both = {key: torch.stack([first[key], second[key]]).detach() for key in first}

    def loss(parameters, batch):
        logits = functional_call(network, parameters, (batch,))
        return F.cross_entropy(logits, torch.zeros(len(batch), dtype=torch.int64))

    found = vmap(grad(loss), in_dims=(0, None))(both, x)
    for number, parameters in enumerate((first, second)):
        alone = grad(loss)({k: v.detach() for k, v in parameters.items()}, x)
        for key, value in alone.items():
            torch.testing.assert_close(found[key][number], value, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["ConvNetD2", "LeNet", "MLP"])
def test_double_backward_agrees_with_finite_differences(name):
    """d/dx of a gradient's projection, in float64. Swish for ConvNet: no kinks to step over."""
    options = {"activation": "swish"} if name == "ConvNetD2" else {}
    network, x = small(name, side=16, **options).double(), images(2, side=16).double()
    parameters = list(network.parameters())
    draw = torch.Generator().manual_seed(1)
    probe = [torch.randn(p.shape, generator=draw, dtype=p.dtype) for p in parameters]
    along = torch.randn(x.shape, generator=draw, dtype=x.dtype)

    def projection(batch):
        loss = F.cross_entropy(network(batch), torch.tensor([0, 3]))
        found = torch.autograd.grad(loss, parameters, create_graph=True)
        return sum((a * b).sum() for a, b in zip(found, probe, strict=True))

    x.requires_grad_()
    (gradient,) = torch.autograd.grad(projection(x), x)
    step = 1e-6
    numeric = (projection(x + step * along) - projection(x - step * along)) / (2 * step)
    torch.testing.assert_close((gradient * along).sum(), numeric, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["ConvNetD2", "AlexNet", "ResNet18BN"])
def test_channels_last_changes_nothing(name):
    network, x = small(name).eval(), images()
    with torch.no_grad():
        usual = network(x)
        other = network.to(memory_format=torch.channels_last)(
            x.contiguous(memory_format=torch.channels_last)
        )
    torch.testing.assert_close(other, usual, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["ConvNetD2", "MLP", "ResNet18"])
def test_one_graph_without_breaks(name):
    """What the compiler sees is a single graph: nothing in Python depends on data."""
    network, x = small(name).eval(), images()
    compiled = torch.compile(network, fullgraph=True, backend="eager")  # traced, not generated
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), network(x))


@pytest.mark.parametrize("name", [*FAMILIES, "ResNet18BN"])
def test_nothing_works_in_place(name):
    network = small(name)
    assert not [m for m in network.modules() if getattr(m, "inplace", False)]
    x = images()
    before = x.clone()
    features = network.eval().features(x)
    kept = features.clone()
    network.classify(features)
    assert torch.equal(x, before)
    assert torch.equal(features, kept)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_global_generator_decides_the_weights(name):
    same, other = Streams(1), Streams(2)
    made = []
    for streams in (same, same, other):
        with streams.initialisation("network"):
            made.append(build(name, 3, 4, 32))
    values = [torch.cat([p.flatten() for p in network.parameters()]) for network in made]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


def test_residual_blocks_pass_their_input_on():
    """With both branches of the first stage silenced, only the stem is left of it."""
    network, x = small("ResNet18"), images()
    stage = network.blocks[0]
    with torch.no_grad():
        for block in stage[-2:]:
            block.residual[-1].weight.zero_()
        stem = stage[:-2](x)
        assert stem.abs().max() > 0
        assert torch.equal(network.features(x, 1), stem)
