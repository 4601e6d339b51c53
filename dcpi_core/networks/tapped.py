"""What a network sees on the way: the map of every block before its pooling."""

from typing import NamedTuple

from torch import Tensor, nn

from dcpi_core.networks.base import Network


class Taps(NamedTuple):
    """Maps of one pass: ``maps`` of all blocks, (B, F, h, w) each, and the features after them."""

    maps: list[Tensor]
    features: Tensor


def taps(network: Network, images: Tensor) -> Taps:
    """Pass images (B, C, H, W) and keep each block's map as it enters the pooling.

    For the literature's ConvNet these are the outputs of its activations; a block without pooling
    gives its output.
    """
    maps = []
    x = images
    for block in network.blocks:
        before = None
        for layer in block.children():
            if isinstance(layer, nn.AvgPool2d | nn.MaxPool2d):
                before = x
            x = layer(x)
        maps.append(x if before is None else before)
    return Taps(maps, x)
