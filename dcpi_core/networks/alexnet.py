"""AlexNet cut down to small images: five convolutions and one linear layer."""

import math
from typing import Literal, NamedTuple

from torch import nn

from dcpi_core.networks.base import ZOO, Inputs, Network, with_fixed
from dcpi_core.networks.layers import norm_layers
from dcpi_core.registry import NETWORKS
from dcpi_core.spec.base import Options


class AlexNetOptions(Options):
    """The published network has no normalisation, its ``BN`` variant has batch norm."""

    norm: Literal["none", "batch"] = "none"


class _Stage(NamedTuple):
    filters: int
    kernel: int
    pooled: bool


_STAGES = (
    _Stage(128, 5, pooled=True),
    _Stage(192, 5, pooled=True),
    _Stage(256, 3, pooled=False),
    _Stage(192, 3, pooled=False),
    _Stage(192, 3, pooled=True),
)


class AlexNet(Network):
    """Five convolutions, three of them with max pooling, and one linear layer."""

    def __init__(self, inputs: Inputs, options: AlexNetOptions) -> None:
        inputs.require(8, "AlexNet")
        channels, padding = inputs.channels, 2 + inputs.extra_padding
        height, width = inputs.padded_size
        blocks, shapes = [], []
        for stage in _STAGES:
            convolution = nn.Conv2d(channels, stage.filters, stage.kernel, padding=padding)
            norm = norm_layers(options.norm, stage.filters, (height, width))
            pooling = [nn.MaxPool2d(2)] if stage.pooled else []
            blocks.append(nn.Sequential(convolution, *norm, nn.ReLU(), *pooling))
            if stage.pooled:
                height, width = height // 2, width // 2
            shapes.append((stage.filters, height, width))
            channels, padding = stage.filters, 2 if len(blocks) == 1 else 1
        classifier = nn.Linear(math.prod(shapes[-1]), inputs.num_classes)
        super().__init__(inputs, blocks, shapes, classifier)


for _name, _norm in {"AlexNet": "none", "AlexNetBN": "batch"}.items():
    _fixed = {"norm": _norm}
    NETWORKS.register(
        _name,
        options=with_fixed(_name, AlexNetOptions, _fixed),
        source=ZOO,
        facts={"family": "AlexNet", "fixed": _fixed},
    )(AlexNet)
