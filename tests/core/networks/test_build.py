"""Names, options and sizes: what ``build`` accepts and what it refuses, in which words."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dcpi_core.networks import build
from dcpi_core.networks.base import with_fixed
from dcpi_core.networks.convnet import ConvNetOptions
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.errors import InvalidInput, UnknownName
from dcpi_core.spec.resolve import convnet_depth, default_network


def kinds(network: nn.Module) -> list[str]:
    return [type(module).__name__ for module in network.modules() if not list(module.children())]


def test_parameters_come_block_by_block_classifier_last():
    shapes = [tuple(p.shape) for p in build("ConvNetD2", 3, 7, 16, width=8).parameters()]
    first = [(8, 3, 3, 3), (8,), (8,), (8,)]
    second = [(8, 8, 3, 3), (8,), (8,), (8,)]
    assert shapes == [*first, *second, (7, 8 * 4 * 4), (7,)]


def test_block_order():
    block = ["Conv2d", "GroupNorm", "ReLU", "AvgPool2d"]
    assert kinds(build("ConvNetD2", 3, 2, 8)) == [*block, *block, "Linear"]


@pytest.mark.parametrize(
    ("name", "option", "kind"),
    [
        ("ConvNetBN", {"norm": "batch"}, "BatchNorm2d"),
        ("ConvNetLN", {"norm": "layer"}, "LayerNorm"),
        ("ConvNetGN", {"norm": "group"}, "GroupNorm"),
        ("ConvNetAS", {"activation": "sigmoid"}, "Sigmoid"),
        ("ConvNetAL", {"activation": "leaky_relu"}, "LeakyReLU"),
        ("ConvNetASwish", {"activation": "swish"}, "SiLU"),
        ("ConvNetMP", {"pooling": "max"}, "MaxPool2d"),
    ],
)
def test_a_name_stands_for_options(name, option, kind):
    named, spelt = build(name, 3, 2, 16, width=8), build("ConvNet", 3, 2, 16, width=8, **option)
    assert kinds(named) == kinds(spelt)
    assert kind in kinds(named)


def test_names_that_leave_layers_out():
    assert "GroupNorm" not in kinds(build("ConvNetNN", 3, 2, 8))
    flat = build("ConvNetNP", 3, 2, 8, width=4)
    assert "AvgPool2d" not in kinds(flat)
    assert flat.feature_shape() == (4, 8, 8)
    assert build("ConvNetW64", 3, 2, 8).feature_shape() == (64, 1, 1)
    assert build("ConvNetASwishBN", 3, 2, 8).options.norm == "batch"


def test_group_norm_has_four_groups_and_instance_norm_one_per_channel():
    grouped, single = build("ConvNetGN", 3, 2, 8, width=8), build("ConvNetIN", 3, 2, 8, width=8)
    groups = [
        {m.num_groups for m in network.modules() if isinstance(m, nn.GroupNorm)}
        for network in (grouped, single)
    ]
    assert groups == [{4}, {8}]


def test_rectangular_images():
    network = build("ConvNetD2", 3, 2, (16, 24), width=4)
    assert network.image_size == (16, 24)
    assert network.feature_shape() == (4, 4, 6)
    assert network(torch.zeros(1, 3, 16, 24)).shape == (1, 2)


def test_unknown_name_lists_those_that_exist():
    with pytest.raises(UnknownName, match=r"unknown network 'ConvNetD9'.*ConvNetD8.*ResNet18BN"):
        build("ConvNetD9", 3, 10, 32)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"widht": 64}, "widht"),
        ({"width": 0}, "greater than or equal to 1"),
        ({"norm": "spectral"}, "'instance'"),
        ({"depth": 4}, "Input should be 3"),
    ],
)
def test_options_are_refused_in_words(options, words):
    with pytest.raises(InvalidInput, match="ConvNetD3") as caught:
        build("ConvNetD3", 3, 10, 32, **options)
    assert words in caught.value.detail
    assert caught.value.problems[0].pointer == f"/{next(iter(options))}"
    assert "its options: width, depth, norm, activation, pooling" in caught.value.detail


def test_a_name_may_be_repeated_as_an_option():
    assert build("ConvNetD3", 3, 2, 8, depth=3).num_layers == 3


@pytest.mark.parametrize(
    ("name", "smallest"),
    [
        ("ConvNetD1", 2),
        ("ConvNetD3", 8),
        ("ConvNetD5", 32),
        ("ConvNetNP", 2),
        ("LeNet", 16),
        ("AlexNet", 8),
        ("VGG11", 32),
        ("ResNet18", 9),
    ],
)
def test_the_smallest_images(name, smallest):
    """The announced limit is the true one: it runs there and is refused one below."""
    network = build(name, 3, 2, smallest)
    assert torch.isfinite(network(torch.randn(1, 3, smallest, smallest))).all()
    with pytest.raises(InvalidInput, match=f"at least {smallest} x {smallest} pixels"):
        build(name, 3, 2, smallest - 1)
    with pytest.raises(InvalidInput, match="not 99 x"):
        build(name, 3, 2, (99, smallest - 1))


def test_too_small_is_refused_before_anything_is_drawn():
    before = torch.random.get_rng_state()
    with pytest.raises(InvalidInput):
        build("ConvNetD5", 3, 2, 16)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_padding_counts_towards_the_smallest_size():
    assert build("ConvNetD5", 1, 2, 28, width=4).feature_shape() == (4, 1, 1)
    with pytest.raises(InvalidInput, match="not 28 x 28"):
        build("ConvNetD5", 3, 2, 28)


def test_group_norm_needs_a_multiple_of_four():
    with pytest.raises(InvalidInput, match="width 10 is no multiple of 4"):
        build("ConvNetGN", 3, 2, 16, width=10)


@pytest.mark.parametrize("numbers", [(0, 2, 8), (3, 0, 8), (3, 2, 0), (3, 2, (8, -1))])
def test_nothing_is_not_a_size(numbers):
    with pytest.raises(InvalidInput, match="at least 1"):
        build("MLP", *numbers)


@pytest.mark.parametrize("layer", [0, -1, 3])
def test_layers_that_do_not_exist(layer):
    network = build("ConvNetD2", 3, 2, 8, width=4)
    with pytest.raises(InvalidInput, match="layers 1 to 2"):
        network.features(torch.zeros(1, 3, 8, 8), layer)
    with pytest.raises(InvalidInput, match="layers 1 to 2"):
        network.feature_shape(layer)


@pytest.mark.parametrize(
    ("side", "depth"), [(8, 2), (16, 2), (28, 3), (32, 3), (64, 4), (128, 5), (224, 6), (256, 6)]
)
def test_depth_by_image_size(side, depth):
    assert convnet_depth(side, side) == convnet_depth(2 * side, side) == depth


@given(st.integers(4, 1024), st.integers(4, 1024))
@settings(max_examples=60, deadline=None)
def test_the_default_can_be_built(height, width):
    name = default_network(DatasetFacts.model_construct(height=height, width=width))
    with torch.device("meta"):
        assert min(build(name, 3, 2, (height, width)).feature_shape()) >= 1


def test_fixed_options_keep_their_order_and_the_others():
    fixed = with_fixed("Test", ConvNetOptions, {"depth": 4})
    assert list(fixed.model_fields) == list(ConvNetOptions.model_fields)
    assert fixed().model_dump() == ConvNetOptions(depth=4).model_dump()
    assert fixed.model_json_schema()["properties"]["depth"]["const"] == 4
