"""Distances that condensation minimises. All are 0 when equal; smaller is closer."""

from collections.abc import Sequence

import torch
from torch import Tensor

EPS = 1e-6


def gradient_distance(syn: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Distance D between two gradients of a network (Zhao et al., ICLR 2021, section 3.2).

    Every tensor with more than one axis is read as one row per output node, and each row costs
    one minus the cosine of the two gradients; vectors (biases, norm weights) cost nothing. The sum
    runs over all rows, so the range is 0 (same direction everywhere) to twice the number of rows.
    ``EPS`` is added to the denominator, as published: a row that is zero on either side costs 1.

    Args:
        syn: gradients in parameter order; the distance is differentiable in them.
        real: gradients of the same shapes.

    Returns:
        Scalar.

    Raises:
        ValueError: the two sides differ in number or shapes, or hold no matrix at all.
    """
    rows = [_row_distance(a, b) for a, b in zip(syn, real, strict=True) if _has_rows(a, b)]
    if not rows:
        raise ValueError("gradient_distance: none of the tensors has rows to compare")
    return torch.stack(rows).sum()


def mean_feature_distance(syn_features: Tensor, real_features: Tensor) -> Tensor:
    """Squared distance between two mean features, summed (Zhao and Bilen, WACV 2023).

    Args:
        syn_features: (n, ...), flattened to (n, d).
        real_features: (m, ...), flattened to (m, d).

    Returns:
        Scalar, 0 when the means are equal.

    Raises:
        ValueError: the features of one image differ in size, or a side is empty.
    """
    syn, real = syn_features.flatten(1), real_features.flatten(1)
    if syn.shape[1] != real.shape[1] or not (len(syn) and len(real)):
        raise ValueError(
            f"mean_feature_distance: cannot compare features {tuple(syn_features.shape)} "
            f"with {tuple(real_features.shape)}"
        )
    return (syn.mean(0) - real.mean(0)).square().sum()


def _has_rows(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        raise ValueError(f"gradient_distance: shapes {tuple(a.shape)} and {tuple(b.shape)} differ")
    return a.ndim > 1


def _row_distance(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.flatten(1), b.flatten(1)
    norms = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    cosines: Tensor = (a * b).sum(1) / (norms + EPS)
    return (1 - cosines).sum()
