"""Layers by the names that options use."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Norm = Literal["instance", "batch", "layer", "group", "none"]
Activation = Literal["relu", "leaky_relu", "sigmoid", "swish"]
Pooling = Literal["avg", "max", "none"]

GROUPS = 4

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "swish": nn.SiLU,
}


def norm_layers(kind: Norm, channels: int, size: tuple[int, int]) -> list[nn.Module]:
    """The normalisation of a map (channels, *size); empty for ``none``.

    Instance norm is group norm with one channel per group, as in the literature's networks: it
    keeps no running statistics.
    """
    if kind == "instance":
        return [nn.GroupNorm(channels, channels)]
    if kind == "batch":
        return [nn.BatchNorm2d(channels)]
    if kind == "layer":
        return [nn.LayerNorm([channels, *size])]
    if kind == "group":
        return [nn.GroupNorm(GROUPS, channels)]
    return []


def activation_layer(kind: Activation) -> nn.Module:
    """The activation called ``kind``, never in place."""
    return _ACTIVATIONS[kind]()


def pooling_layers(kind: Pooling) -> list[nn.Module]:
    """2 x 2 pooling with stride 2; empty for ``none``."""
    if kind == "avg":
        return [nn.AvgPool2d(2)]
    if kind == "max":
        return [nn.MaxPool2d(2)]
    return []


@contextmanager
def without_remembering(network: nn.Module) -> Iterator[None]:
    """Batch norm in training goes by its batch as ever, but leaves its running statistics alone."""
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    noting = [layer for layer in layers if layer.training and layer.track_running_stats]
    for layer in noting:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in noting:
            layer.track_running_stats = True
