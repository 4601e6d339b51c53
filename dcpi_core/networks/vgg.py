"""VGG-11 for small images (Simonyan and Zisserman, ICLR 2015)."""

import math
from typing import Literal, NamedTuple

from torch import nn

from dcpi_core.networks.base import ZOO, Inputs, Network, with_fixed
from dcpi_core.networks.layers import norm_layers
from dcpi_core.registry import NETWORKS
from dcpi_core.spec.base import Options


class VGGOptions(Options):
    """The published network has instance norm, its ``BN`` variant batch norm."""

    norm: Literal["instance", "batch"] = "instance"


class _Stage(NamedTuple):
    filters: int
    pooled: bool


_STAGES = (
    _Stage(64, pooled=True),
    _Stage(128, pooled=True),
    _Stage(256, pooled=False),
    _Stage(256, pooled=True),
    _Stage(512, pooled=False),
    _Stage(512, pooled=True),
    _Stage(512, pooled=False),
    _Stage(512, pooled=True),
)


class VGG11(Network):
    """Eight 3x3 convolutions with norm and ReLU, five max poolings, one linear layer.

    Published for 32 x 32; larger images get a linear layer on the larger last map.
    """

    def __init__(self, inputs: Inputs, options: VGGOptions) -> None:
        inputs.require(32, "VGG11")
        channels, padding = inputs.channels, 1 + inputs.extra_padding
        height, width = inputs.padded_size
        blocks, shapes = [], []
        for stage in _STAGES:
            convolution = nn.Conv2d(channels, stage.filters, 3, padding=padding)
            norm = norm_layers(options.norm, stage.filters, (height, width))
            pooling = [nn.MaxPool2d(2)] if stage.pooled else []
            blocks.append(nn.Sequential(convolution, *norm, nn.ReLU(), *pooling))
            if stage.pooled:
                height, width = height // 2, width // 2
            shapes.append((stage.filters, height, width))
            channels, padding = stage.filters, 1
        classifier = nn.Linear(math.prod(shapes[-1]), inputs.num_classes)
        super().__init__(inputs, blocks, shapes, classifier)


for _name, _norm in {"VGG11": "instance", "VGG11BN": "batch"}.items():
    _fixed = {"norm": _norm}
    NETWORKS.register(
        _name,
        options=with_fixed(_name, VGGOptions, _fixed),
        source=ZOO,
        facts={"family": "VGG11", "fixed": _fixed},
    )(VGG11)
