"""Greedy maximisation of facility location and graph cut.

Both know n images by their similarities only. Indices come in the order of picking and no image is
picked twice; ties go to the lowest index, and gains that differ by less than rounding are ties.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dcpi_core.ops.greedy import ROUNDING, first_true
from dcpi_core.ops.last_layer import OuterProducts
from dcpi_core.spec.errors import InvalidInput

STORED_BYTES = 400_000_000  # similarities are kept where they fit, computed again where not
ROWS_AT_ONCE = 64  # gains brought up to date together

Rows = Callable[[Tensor], Tensor]
"""Similarities (b, n), not negative, of the b images at an index with all n: a fresh tensor."""


def facility_location(rows: Rows, size: int, count: int) -> Tensor:
    """Greedy maximum of  sum over i of max over picked j of s_ij, starting from nothing.

    Gains only shrink while the selection grows, so an old gain bounds the new one from above and
    only images whose bound reaches the best known gain are looked at again (Minoux, 1978). The
    picks are those of the plain greedy algorithm.

    Args:
        rows: similarities by row.
        size: n.
        count: how many images to pick.

    Returns:
        (count,) int64 indices in pick order.

    Raises:
        InvalidInput: ``count`` is not in 1..n.
    """
    _require(count, size)
    rows = _stored(rows, size)
    covered = torch.zeros_like(rows(torch.tensor([0]))[0])
    bound, largest = torch.empty(size, dtype=torch.float64), 0.0
    for index in torch.arange(size).split(ROWS_AT_ONCE):
        part = rows(index)
        bound[index] = part.sum(1, dtype=torch.float64)
        largest = max(largest, float(part.max()))
        del part  # before the next one is made
    tolerance = ROUNDING * torch.finfo(covered.dtype).eps * math.sqrt(size) * largest
    picked: list[int] = []
    while len(picked) < count:
        picked.append(_best_gain(rows, covered, bound, tolerance))
        bound[picked[-1]] = -torch.inf  # taken
        covered = torch.maximum(covered, rows(torch.tensor(picked[-1:]))[0])
    return torch.tensor(picked)


def graph_cut(vectors: OuterProducts, count: int, redundancy: float | None = None) -> Tensor:
    """Greedy maximum of  sum over all i, picked j of s_ij - r * sum over picked i, j of s_ij.

    The similarity is s = (1 + cosine) / 2, of an image with itself 1. The cosines are never all
    formed: sums of columns follow from the mean vector, and a pick changes the gains by one row of
    products. Gains may become negative; picking goes on until ``count``.

    Args:
        vectors: n vectors of any length; those of length zero have cosine 0 with all others.
        count: how many images to pick.
        redundancy: r; None for n / 2t at pick t, with which the picks greedily approach the
            distribution of all images: their squared maximum mean discrepancy under the kernel s
            is a constant minus 2 / (n t) times this maximum (Chen et al., UAI 2010).

    Returns:
        (count,) int64 indices in pick order.

    Raises:
        InvalidInput: ``count`` is not in 1..n.
    """
    size = len(vectors)
    _require(count, size)
    unit = vectors.unit()
    # Without an image's similarity with itself, which is the same of all.
    reach = (size * (1 + unit.with_mean()) - (1 + unit.squares)) / 2
    redundant = torch.zeros_like(reach)  # twice the similarity with the picks
    picked: list[int] = []
    while len(picked) < count:
        weight = size / (2 * (len(picked) + 1)) if redundancy is None else redundancy
        gains = reach - weight * redundant
        error = torch.finfo(unit.right.dtype).eps * (1 + weight * len(picked))
        picked.append(first_true(gains >= gains.max() - ROUNDING * error))
        redundant += 1 + unit.products(torch.tensor(picked[-1:]))[0]
        reach[picked[-1]] = -torch.inf  # taken
    return torch.tensor(picked)


def _best_gain(rows: Rows, covered: Tensor, bound: Tensor, tolerance: float) -> int:
    """Lowest index of the largest gain; brings the bounds that matter up to date."""
    fresh, best = bound == 0, 0.0  # a gain cannot fall below nothing
    while True:
        waiting = bound.masked_fill(fresh | (bound < best - tolerance), -torch.inf)
        top = waiting.topk(min(ROWS_AT_ONCE, len(waiting)))
        index = top.indices[top.values > -torch.inf]
        if not len(index):
            return first_true(fresh & (bound >= best - tolerance))
        gains = rows(index).sub_(covered).clamp_(min=0).sum(1, dtype=torch.float64)
        bound[index], fresh[index] = gains, True
        best = max(best, float(gains.max()))


def _stored(rows: Rows, size: int) -> Rows:
    """The same rows, from a matrix held in memory if it is small enough."""
    sample = rows(torch.zeros(1, dtype=torch.int64))
    if size * size * sample.element_size() > STORED_BYTES:
        return rows
    matrix = sample.new_empty(size, size)
    for index in torch.arange(size).split(4 * ROWS_AT_ONCE):
        matrix[index] = rows(index)
    return lambda index: matrix[index]


def _require(count: int, size: int) -> None:
    if not 1 <= count <= size:
        raise InvalidInput(f"cannot pick {count} of {size} rows")
