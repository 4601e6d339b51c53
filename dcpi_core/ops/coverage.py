"""How well chosen rows stand for all rows."""

from typing import NamedTuple

import torch
from torch import Tensor

ROWS_AT_ONCE = 4096


class Coverage(NamedTuple):
    """Euclidean neighbours between n rows and the k chosen among them.

    Attributes:
        nearest_chosen: (n,) position among the chosen of the one nearest to each row; a chosen
            row's is its own.
        to_chosen: (n,) distance to it.
        nearest_other: (k,) index of the unchosen row nearest to each chosen one; empty, like the
            next, if all rows are chosen.
        to_other: (k,) distance to it.
    """

    nearest_chosen: Tensor
    to_chosen: Tensor
    nearest_other: Tensor
    to_other: Tensor


def coverage(rows: Tensor, chosen: Tensor) -> Coverage:
    """Neighbours among rows (n, d), of which those at ``chosen`` (k,), k >= 1, were chosen."""
    rows = rows - rows.mean(0)  # far from the origin, distances would lose their digits
    others = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    others[chosen] = False
    other = others.nonzero().squeeze(1)
    nearest_chosen = _nearest(rows, rows[chosen])
    nearest_chosen[chosen] = torch.arange(len(chosen), device=rows.device)
    nearest_other = other[:0]
    if len(other):
        nearest_other = other[_nearest(rows[chosen], rows[other])]
    return Coverage(
        nearest_chosen,
        _apart(rows, rows[chosen[nearest_chosen]]),
        nearest_other,
        _apart(rows[chosen[: len(nearest_other)]], rows[nearest_other]),
    )


def _nearest(rows: Tensor, targets: Tensor) -> Tensor:
    """(n,) index of the target nearest to each row."""
    parts = rows.split(ROWS_AT_ONCE)
    return torch.cat([torch.cdist(part, targets).argmin(1) for part in parts])


def _apart(rows: Tensor, others: Tensor) -> Tensor:
    """Distances (n,), row by row, to the last digit: those of a product of matrices are not."""
    found: Tensor = (rows - others).norm(dim=1)
    return found
