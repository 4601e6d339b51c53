"""ConvNet: the network that nearly all of the condensation literature works with.

``depth`` blocks of [3x3 convolution, norm, activation, 2x2 pooling] and one linear layer.
"""

import math
from typing import Any

from pydantic import Field
from torch import nn

from dcpi_core.networks.base import ZOO, FeatureShape, Inputs, Network, with_fixed
from dcpi_core.networks.layers import (
    GROUPS,
    Activation,
    Norm,
    Pooling,
    activation_layer,
    norm_layers,
    pooling_layers,
)
from dcpi_core.registry import NETWORKS
from dcpi_core.spec.base import Options
from dcpi_core.spec.errors import InvalidInput

MAX_DEPTH = 8


class ConvNetOptions(Options):
    """The published network is the default: 128 filters, 3 blocks, instance norm, ReLU, average."""

    width: int = Field(128, ge=1, le=2048, description="filters of every convolution")
    depth: int = Field(3, ge=1, le=MAX_DEPTH, description="number of blocks")
    norm: Norm = "instance"
    activation: Activation = "relu"
    pooling: Pooling = "avg"


class ConvNet(Network):
    """Blocks of 3x3 convolution, normalisation, activation and pooling; one linear layer."""

    def __init__(self, inputs: Inputs, options: ConvNetOptions) -> None:
        _check(inputs, options)
        shapes = _shapes(inputs, options)
        channels, size = inputs.channels, inputs.padded_size
        padding = 1 + inputs.extra_padding
        blocks = []
        for shape in shapes:
            convolution = nn.Conv2d(channels, options.width, 3, padding=padding)
            norm = norm_layers(options.norm, options.width, size)
            activation = activation_layer(options.activation)
            pooling = pooling_layers(options.pooling)
            blocks.append(nn.Sequential(convolution, *norm, activation, *pooling))
            channels, padding, size = options.width, 1, shape[1:]
        classifier = nn.Linear(math.prod(shapes[-1]), inputs.num_classes)
        super().__init__(inputs, blocks, shapes, classifier)
        self.options = options
        self.first_padding = 1 + inputs.extra_padding


def _shapes(inputs: Inputs, options: ConvNetOptions) -> list[FeatureShape]:
    height, width = inputs.padded_size
    shapes = []
    for _ in range(options.depth):
        if options.pooling != "none":
            height, width = height // 2, width // 2
        shapes.append((options.width, height, width))
    return shapes


def _check(inputs: Inputs, options: ConvNetOptions) -> None:
    if options.pooling != "none":
        inputs.require(2**options.depth, f"a ConvNet of depth {options.depth}")
    elif options.norm == "instance":
        inputs.require(2, "a ConvNet with instance norm")
    if options.norm == "group" and options.width % GROUPS:
        raise InvalidInput(
            f"group norm splits the channels into {GROUPS} groups; "
            f"width {options.width} is no multiple of {GROUPS}"
        )


def _variants() -> dict[str, dict[str, Any]]:
    """Names of the literature and the options they stand for.

    ``NN`` and ``NP`` are no norm and no pooling. Combinations that are not listed can be had
    through the options of ``ConvNet``.
    """
    norms = {"BN": "batch", "IN": "instance", "LN": "layer", "GN": "group", "NN": "none"}
    activations = {"AR": "relu", "AL": "leaky_relu", "AS": "sigmoid", "ASwish": "swish"}
    poolings = {"AP": "avg", "MP": "max", "NP": "none"}
    depths = range(1, MAX_DEPTH + 1)
    return {
        "": {},
        **{f"D{depth}": {"depth": depth} for depth in depths},
        **{f"D{depth}BN": {"depth": depth, "norm": "batch"} for depth in depths},
        **{f"D3{suffix}": {"depth": 3, "norm": norm} for suffix, norm in norms.items()},
        **{f"W{width}": {"width": width} for width in (32, 64, 128, 256)},
        **{suffix: {"norm": norm} for suffix, norm in norms.items()},
        **{suffix: {"activation": kind} for suffix, kind in activations.items()},
        **{suffix: {"pooling": kind} for suffix, kind in poolings.items()},
        "ASwishBN": {"activation": "swish", "norm": "batch"},
    }


for _suffix, _fixed in _variants().items():
    NETWORKS.register(
        f"ConvNet{_suffix}",
        options=with_fixed(f"ConvNet{_suffix}", ConvNetOptions, _fixed),
        source=ZOO,
        facts={"family": "ConvNet", "fixed": _fixed},
    )(ConvNet)
