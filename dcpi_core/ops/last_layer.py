"""Gradients of the last linear layer, per image, kept as their two factors.

With the error e = softmax(logits) - onehot(label) and the layer's input h, the gradient of one
image's cross entropy is the outer product of e and (h, 1): C x (D + 1) numbers, of which only
C + D + 1 are free. Inner products factorise,

    <g_i, g_j> = <e_i, e_j> (<h_i, h_j> + 1),

so the gradients themselves are never formed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

ROWS_AT_ONCE = 4096  # converted to float64 at a time


def errors(logits: Tensor, labels: Tensor) -> Tensor:
    """softmax(logits) - onehot(labels), (n, C) float64.

    The entry of an image's own class is minus the sum of the others, so that a confident row keeps
    its digits.

    Args:
        logits: (n, C).
        labels: (n,) int64.
    """
    own = labels.unsqueeze(1)
    others = logits.double().softmax(1).scatter(1, own, 0.0)
    return others.scatter(1, own, -others.sum(1, keepdim=True))


@dataclass(frozen=True, eq=False)
class OuterProducts:
    """n vectors; the i-th is the outer product of row i of ``left`` and row i of ``right``.

    Attributes:
        left: (n, p).
        right: (n, q); its type is that of the inner products.
    """

    left: Tensor
    right: Tensor

    def __len__(self) -> int:
        return len(self.left)

    def products(self, index: Tensor) -> Tensor:
        """Inner products (b, n) of the b vectors at ``index`` with all of them."""
        found = self.right[index] @ self.right.T
        return found.mul_(self.left[index] @ self.left.T)

    @cached_property
    def squares(self) -> Tensor:
        """Squared lengths (n,), float64."""
        parts = [a.square().sum(1) * b.square().sum(1) for a, b in self._double()]
        return torch.cat(parts)

    def with_mean(self) -> Tensor:
        """Inner product of every vector with the mean of all, (n,) float64."""
        mean = torch.stack([a.T @ b for a, b in self._double()]).sum(0) / len(self)
        return torch.cat([((a @ mean) * b).sum(1) for a, b in self._double()])

    def unit(self) -> "OuterProducts":
        """The vectors scaled to length one; those of length zero stay."""
        return OuterProducts(_unit(self.left), _unit(self.right))

    def _double(self) -> Iterator[tuple[Tensor, Tensor]]:
        for a, b in zip(self.left.split(ROWS_AT_ONCE), self.right.split(ROWS_AT_ONCE), strict=True):
            yield a.double(), b.double()


def last_layer_gradients(logits: Tensor, labels: Tensor, inputs: Tensor) -> OuterProducts:
    """Gradients of each image's cross entropy with respect to the last layer's weight and bias.

    Args:
        logits: (n, C).
        labels: (n,) int64.
        inputs: (n, D) what the layer reads, float32 or float64.
    """
    return OuterProducts(errors(logits, labels), with_bias(inputs))


def with_bias(inputs: Tensor) -> Tensor:
    """(n, D + 1): the rows with a one appended, which stands for the bias.

    Stored by columns: the product with a vector is then twice as fast.
    """
    return torch.cat([inputs.T, inputs.new_ones(1, len(inputs))]).T


def _unit(rows: Tensor) -> Tensor:
    """Rows of length one; divided by their largest entry first, so that no square underflows."""
    largest = rows.abs().amax(1, keepdim=True)
    rows = rows / torch.where(largest > 0, largest, 1)
    length = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(length > 0, length, 1)
