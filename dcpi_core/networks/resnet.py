"""ResNet-18 with the stem for small images (He et al., CVPR 2016)."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from dcpi_core.networks.base import ZOO, Inputs, Network, with_fixed
from dcpi_core.networks.layers import norm_layers
from dcpi_core.registry import NETWORKS
from dcpi_core.spec.base import Options

_WIDTHS = (64, 128, 256, 512)


class ResNetOptions(Options):
    """The published network has instance norm, its ``BN`` variant batch norm."""

    norm: Literal["instance", "batch"] = "instance"


class _Branches(nn.Module):
    """Two 3x3 convolutions beside a shortcut that is the identity where shapes allow it."""

    def __init__(self, channels: int, width: int, stride: int, options: ResNetOptions) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *_convolution(channels, width, 3, stride, options),
            nn.ReLU(),
            *_convolution(width, width, 3, 1, options),
        )
        changes_shape = stride != 1 or channels != width
        shortcut = _convolution(channels, width, 1, stride, options) if changes_shape else []
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.shortcut(x))


class _GlobalAverage(nn.Module):
    """(B, F, h, w) -> (B, F, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


class ResNet18(Network):
    """Stem of one 3x3 convolution, four stages of two residual blocks, global average, linear.

    The layers are the stages: the stem belongs to the first, the average to the last.
    """

    def __init__(self, inputs: Inputs, options: ResNetOptions) -> None:
        # Nine pixels are the least that leave instance norm more than one pixel to work on.
        inputs.require(9, "ResNet18")
        stem = [*_convolution(inputs.channels, _WIDTHS[0], 3, 1, options), nn.ReLU()]
        blocks: list[nn.Sequential] = []
        shapes = []
        channels, height, width = _WIDTHS[0], inputs.height, inputs.width
        for filters in _WIDTHS:
            stride = 1 if filters == _WIDTHS[0] else 2
            stage = [
                _Branches(channels, filters, stride, options),
                _Branches(filters, filters, 1, options),
            ]
            blocks.append(nn.Sequential(*(stem if not blocks else []), *stage))
            channels, height, width = filters, -(-height // stride), -(-width // stride)
            shapes.append((filters, height, width))
        blocks[-1].append(_GlobalAverage())
        shapes[-1] = (channels, 1, 1)
        classifier = nn.Linear(channels, inputs.num_classes)
        super().__init__(inputs, blocks, shapes, classifier)


def _convolution(
    channels: int, width: int, kernel: int, stride: int, options: ResNetOptions
) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
    # Neither norm of this family needs the size of the map.
    return [convolution, *norm_layers(options.norm, width, (0, 0))]


for _name, _norm in {"ResNet18": "instance", "ResNet18BN": "batch"}.items():
    _fixed = {"norm": _norm}
    NETWORKS.register(
        _name,
        options=with_fixed(_name, ResNetOptions, _fixed),
        source=ZOO,
        facts={"family": "ResNet18", "fixed": _fixed},
    )(ResNet18)
