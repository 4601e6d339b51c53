"""Greedy selection of rows: cover them (k-center) or keep their mean (herding).

Indices come in the order of picking and no row is picked twice. Ties go to the lowest index, and
values that differ by less than rounding count as ties, so that equal rows are equal candidates
wherever they stand. A step costs one product of the features with a vector; besides one centred
copy of the features, memory is O(n).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dcpi_core.spec.errors import InvalidInput

ROUNDING = 8  # unit roundoffs by which two computations of the same inner product may differ


def k_center(features: Tensor, count: int, first: int | None = None) -> Tensor:
    """Farthest-first traversal: a 2-approximation of the k-center problem (Gonzalez, 1985).

    Each pick is the row with the largest Euclidean distance to the nearest row picked before it.

    Args:
        features: (n, d).
        count: how many rows to pick, the first included.
        first: index of the first pick; None for the row nearest to the mean.

    Returns:
        (count,) int64 indices in pick order.

    Raises:
        InvalidInput: ``count`` is not in 1..n, ``first`` is no row, or a value is not finite.
    """
    rows = _centred(features, count)
    tolerance = rows.tolerance(rows.longest)
    if first is None:
        first = first_true(rows.squares <= rows.squares.min() + tolerance)
    elif not 0 <= first < len(features):
        raise InvalidInput(f"first must be one of {len(features)} rows, counted from 0: {first}")
    nearest = torch.full_like(rows.squares, torch.inf)  # squared distance to the nearest pick
    picked = [first]
    while len(picked) < count:
        centre = picked[-1]
        nearest[centre] = -torch.inf  # taken
        chosen = rows.matrix[centre].contiguous()
        distances = torch.addmv(rows.squares, rows.matrix, chosen, alpha=-2)
        torch.minimum(nearest, distances.add_(rows.squares[centre]), out=nearest)
        picked.append(first_true(nearest >= nearest.max() - tolerance))
    return torch.tensor(picked, device=features.device)


def herding(features: Tensor, count: int) -> Tensor:
    """Greedy matching of the mean (Welling, ICML 2009).

    Pick t is the row nearest to t * mean - (sum of the picks before it): the one that brings the
    mean of the picks closest to the mean of all rows.

    Args:
        features: (n, d).
        count: how many rows to pick.

    Returns:
        (count,) int64 indices in pick order.

    Raises:
        InvalidInput: ``count`` is not in 1..n, or a value is not finite.
    """
    rows = _centred(features, count)
    squares = rows.squares.clone()
    total = torch.zeros_like(rows.matrix[0], dtype=torch.float64)  # of the picks; wanted: 0
    picked: list[int] = []
    while len(picked) < count:
        # Up to a constant the squared length of (total + row).
        scores = torch.addmv(squares, rows.matrix, total.to(rows.matrix.dtype), alpha=2)
        tolerance = rows.tolerance(torch.maximum(rows.longest, total.norm()))
        picked.append(first_true(scores <= scores.min() + tolerance))
        squares[picked[-1]] = torch.inf  # taken
        total += rows.matrix[picked[-1]]
    return torch.tensor(picked, device=features.device)


class _Rows(NamedTuple):
    matrix: Tensor  # (n, d), mean zero
    squares: Tensor  # (n,) squared lengths
    longest: Tensor  # length of the longest row

    def tolerance(self, other: Tensor) -> Tensor:
        """Rounding error of the inner product of a row with a vector of length ``other``."""
        return ROUNDING * torch.finfo(self.matrix.dtype).eps * self.longest * other


def _centred(features: Tensor, count: int) -> _Rows:
    """The rows minus their mean, in float32 or float64, if ``count`` of them can be picked.

    Distances do not change, but far from the origin the expanded square would lose its digits.
    """
    if features.ndim != 2:
        raise InvalidInput(f"features must be a matrix (n, d), not {tuple(features.shape)}")
    if not 1 <= count <= len(features):
        raise InvalidInput(f"cannot pick {count} of {len(features)} rows")
    exact = features.dtype in (torch.float32, torch.float64)
    features = features.detach() if exact else features.detach().float()
    mean = features.mean(0, dtype=torch.float64).to(features.dtype)
    # Stored by columns: the product with a vector is then twice as fast.
    columns = features.t().clone(memory_format=torch.contiguous_format)
    matrix = columns.sub_(mean.unsqueeze(1)).t()
    squares = torch.linalg.vector_norm(matrix, dim=1).square_()  # no matrix of squares
    if not torch.isfinite(squares).all():
        raise InvalidInput("features hold a value that is NaN, infinite or too large to square")
    return _Rows(matrix, squares, squares.max().sqrt())


def first_true(equal: Tensor) -> int:
    """The lowest index at which a mask is true."""
    return int(equal.to(torch.uint8).argmax())
