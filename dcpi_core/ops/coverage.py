"""How well chosen rows stand for all rows."""

from typing import NamedTuple

import torch
from torch import Tensor

ROWS_AT_ONCE, TARGETS_AT_ONCE = 2048, 2048  # whose distances are held in memory
VALUES_AT_ONCE = 16_000_000  # of rows copied to compute them


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
    """Neighbours among rows (n, d), of which those at ``chosen`` (k,), k >= 1, were chosen.

    Beyond the rows, memory grows with n + k but with neither's product with the other or with d.
    """
    nearest_chosen, to_chosen = nearest_of(rows, chosen)
    others = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    others[chosen] = False
    other = others.nonzero().squeeze(1)
    nearest_other = other[:0]
    if len(other):
        nearest_other = other[_nearest(rows, chosen, other)]
    to_other = _apart(rows, chosen[: len(nearest_other)], nearest_other)
    return Coverage(nearest_chosen, to_chosen, nearest_other, to_other)


def nearest_of(rows: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """``nearest_chosen`` and ``to_chosen`` of ``Coverage`` alone, at less than half the cost."""
    everything = torch.arange(len(rows), device=rows.device)
    found = _nearest(rows, everything, chosen)
    found[chosen] = torch.arange(len(chosen), device=rows.device)
    return found, _apart(rows, everything, chosen[found])


def _nearest(rows: Tensor, of: Tensor, among: Tensor) -> Tensor:
    """(n,) for each row at ``of`` (n,), which one at ``among`` is nearest to it."""
    mean = rows.mean(0)  # far from the origin, distances would lose their digits
    found = torch.zeros_like(of)
    for here in _pieces(len(of), ROWS_AT_ONCE, rows):
        seen, least = rows[of[here]] - mean, torch.full_like(of[here], torch.inf, dtype=rows.dtype)
        for there in _pieces(len(among), TARGETS_AT_ONCE, rows):
            apart, index = torch.cdist(seen, rows[among[there]] - mean).min(1)
            nearer = apart < least
            least = torch.where(nearer, apart, least)
            found[here] = torch.where(nearer, index + there.start, found[here])
    return found


def _apart(rows: Tensor, of: Tensor, others: Tensor) -> Tensor:
    """Distances (n,), row by row, to the last digit: those of a product of matrices are not."""
    pieces = _pieces(len(of), ROWS_AT_ONCE, rows)
    parts = [(rows[of[here]] - rows[others[here]]).norm(dim=1) for here in pieces]
    return torch.cat(parts) if parts else rows.new_empty(0)


def _pieces(size: int, at_once: int, rows: Tensor) -> list[slice]:
    step = max(1, min(at_once, VALUES_AT_ONCE // rows.shape[1]))
    return [slice(start, start + step) for start in range(0, size, step)]
