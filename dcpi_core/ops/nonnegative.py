"""Least squares with weights that must not be negative."""

import torch
from torch import Tensor

TINY = torch.finfo(torch.float64).tiny


def nonnegative_least_squares(gram: Tensor, target: Tensor) -> Tensor:
    """The w >= 0 that minimises  w' gram w / 2 - w' target  (Lawson and Hanson, 1974, chapter 23).

    Args:
        gram: (k, k) float64, positive definite.
        target: (k,) float64.

    Returns:
        (k,) weights; some may be exactly zero.
    """
    weights = torch.zeros_like(target)
    used = torch.zeros(len(target), dtype=torch.bool)
    tolerance = 1e-12 * target.abs().max()
    for _ in range(3 * len(target)):  # rounding alone could make it go round in circles
        slope = (target - gram @ weights).masked_fill(used, -torch.inf)
        if slope.max() <= tolerance:
            break
        used[slope.argmax()] = True
        wanted = _solution(gram, target, used)
        while bool((wanted[used] <= 0).any()):
            # As far towards it as all weights stay positive; those that would not are dropped.
            falling = used & (wanted <= 0)
            share = (weights / (weights - wanted).clamp(min=TINY)).masked_fill(~falling, torch.inf)
            weights = weights + share.min() * (wanted - weights)
            used &= share > share.min()
            weights[~used] = 0
            wanted = _solution(gram, target, used)
        weights = wanted
    return weights


def _solution(gram: Tensor, target: Tensor, used: Tensor) -> Tensor:
    """Without the bound, of the weights in use; the others stay zero."""
    found = torch.zeros_like(target)
    if bool(used.any()):
        found[used] = torch.linalg.solve(gram[used][:, used], target[used])
    return found
