"""Poolings of a feature map that keep where something is, or what it is."""

from typing import Literal

import torch
from torch import Tensor

Form = Literal["map", "spatial", "channel"]
"""A whole map (n, F, h, w), its spatial (n, 1, h, w) or its channel attention (n, F, 1, 1)."""

Pooling = Literal["average", "maximum"]

_AXES = {"spatial": (1,), "channel": (2, 3)}


def pool(features: Tensor, form: Form, how: Pooling = "average") -> Tensor:
    """Pool a map over its channels (``spatial``) or its pixels (``channel``), without parameters.

    Args:
        features: (n, F, h, w).

    Returns:
        (n, F, h, w), (n, 1, h, w) or (n, F, 1, 1).
    """
    if form == "map":
        return features
    axes = _AXES[form]
    return (
        features.mean(axes, keepdim=True) if how == "average" else torch.amax(features, axes, True)
    )
