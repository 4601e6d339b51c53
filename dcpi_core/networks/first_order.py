"""The fastest way to the features of a network whose images need no gradient."""

from collections.abc import Collection

import torch
from torch import Tensor

from dcpi_core.networks.base import Network
from dcpi_core.networks.convnet import ConvNet
from dcpi_core.ops.convnet_features import convnet_maps, supports


def first_order_features(network: Network, images: Tensor) -> Tensor:
    """``network.features(images)`` by the fastest way; see ``first_order_maps``."""
    return first_order_maps(network, images, ())[network.num_layers]


def first_order_maps(
    network: Network, images: Tensor, layers: Collection[int]
) -> dict[int, Tensor]:
    """Outputs of these blocks and of the last, by a faster way where there is one.

    The result can be differentiated once, with respect to the parameters. Where images need a
    gradient, and for every network but the literature's ConvNet in float32 on a CPU, it is
    ``network.maps`` itself.

    Args:
        network: any network.
        images: (B, C, H, W).
        layers: numbers of blocks, from 1.

    Returns:
        (B, F, h, w) by number of block.
    """
    wanted = sorted({*layers, network.num_layers})
    if isinstance(network, ConvNet) and _is_plain(network) and _suits(network, images):
        parameters = list(network.blocks.parameters())
        found = convnet_maps(images, parameters, network.first_padding, wanted)
        return dict(zip(wanted, found, strict=True))
    return network.maps(images, wanted)


def _is_plain(network: ConvNet) -> bool:
    options = network.options
    return (options.norm, options.activation, options.pooling) == ("instance", "relu", "avg")


def _suits(network: ConvNet, images: Tensor) -> bool:
    weight = next(network.parameters())
    on_cpu = images.device.type == weight.device.type == "cpu"
    in_float32 = images.dtype == weight.dtype == torch.float32
    return (
        on_cpu
        and in_float32
        and not images.requires_grad
        and not torch.is_autocast_enabled("cpu")
        and tuple(images.shape[2:]) == network.image_size
        and supports(network.image_size, network.first_padding, network.num_layers)
    )
