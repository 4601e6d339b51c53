"""Orthogonal matching pursuit: few gradients whose weighted sum is the mean of all."""

import torch
from torch import Tensor

from dcpi_core.ops.greedy import ROUNDING, first_true
from dcpi_core.ops.last_layer import OuterProducts
from dcpi_core.ops.nonnegative import TINY, nonnegative_least_squares
from dcpi_core.spec.errors import InvalidInput


def matching_pursuit(vectors: OuterProducts, count: int, ridge: float = 1e-3) -> Tensor:
    """Picks whose ridge regression on the mean vector leaves the smallest residual, greedily.

    Each pick is the vector with the largest inner product with the residual

        mean - sum over picked s of w_s g_s,   w = (K + ridge * mean ||g||^2 I)^-1 <g, mean>,

    K the inner products of the picked. Everything is done with inner products (Killamsetty et al.,
    ICML 2021, algorithm 2, in Gram form). The weights steer the
    selection; ``pursuit_weights`` are those to train with.

    Args:
        vectors: n vectors.
        count: how many to pick.
        ridge: strength of the regularisation, relative to the mean squared length.

    Returns:
        (count,) int64 indices in pick order; ties, up to rounding, go to the lowest index.

    Raises:
        InvalidInput: ``count`` is not in 1..n.
    """
    if not 1 <= count <= len(vectors):
        raise InvalidInput(f"cannot pick {count} of {len(vectors)} rows")
    target = vectors.with_mean()
    lengths = vectors.squares.sqrt()
    rounding = ROUNDING * torch.finfo(vectors.right.dtype).eps * float(lengths.max())
    ridge = _absolute(ridge, vectors)
    columns = vectors.right.new_empty(count, len(vectors))
    factor = torch.zeros(count, count, dtype=torch.float64)  # of K and the ridge (Cholesky)
    residual, reach = target.clone(), target.mean().clamp(min=0).sqrt()  # length of the mean
    picked: list[int] = []
    for number in range(count):
        residual[picked] = -torch.inf
        picked.append(first_true(residual >= residual.max() - rounding * reach))
        columns[number] = vectors.products(torch.tensor(picked[-1:]))[0]
        _extend(factor, number, columns[: number + 1, picked[-1]].double(), ridge)
        weights = _solve(factor, target[picked])
        residual = target - columns[: number + 1].T @ weights.to(columns.dtype)
        reach = (weights.abs() * lengths[picked]).sum()
    return torch.tensor(picked)


def pursuit_weights(vectors: OuterProducts, picked: Tensor, ridge: float = 1e-3) -> Tensor:
    """Weights w >= 0 with which picked vectors come nearest to the mean of all.

    The same ridge regression as in the pursuit, whose own weights may be negative. A pick whose
    weight would be is left with zero.

    Args:
        vectors: n vectors.
        picked: (k,) indices.
        ridge: as in ``matching_pursuit``.

    Returns:
        (k,) float64, all zero where all vectors are.
    """
    own = OuterProducts(vectors.left[picked], vectors.right[picked])
    gram = own.products(torch.arange(len(picked))).double()
    gram.diagonal().add_(_absolute(ridge, vectors))
    return nonnegative_least_squares(gram, vectors.with_mean()[picked])


def _absolute(ridge: float, vectors: OuterProducts) -> float:
    """The ridge itself; where all vectors are zero, there is still something to divide by."""
    return max(ridge * float(vectors.squares.mean()), TINY)


def _extend(factor: Tensor, number: int, products: Tensor, ridge: float) -> None:
    """Append row ``number`` of a Cholesky factor: products (number + 1,), the last with itself."""
    row = torch.linalg.solve_triangular(
        factor[:number, :number], products[:number].unsqueeze(1), upper=False
    ).squeeze(1)
    factor[number, :number] = row
    # What is left of the vector beyond the others' span, which is not negative, and the ridge.
    factor[number, number] = ((products[number] - row @ row).clamp(min=0) + ridge).sqrt()


def _solve(factor: Tensor, target: Tensor) -> Tensor:
    """Weights of the picks so far; ``factor`` may have room for more."""
    used = factor[: len(target), : len(target)]
    return torch.cholesky_solve(target.unsqueeze(1), used).squeeze(1)
