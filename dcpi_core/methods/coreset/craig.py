"""CRAIG (Mirzasoleiman et al., ICML 2020): chosen gradients stand near all gradients."""

import torch
from torch import Tensor

from dcpi_core.methods.coreset.base import Coreset, WeightedOptions
from dcpi_core.ops.last_layer import OuterProducts
from dcpi_core.ops.submodular import ROWS_AT_ONCE, Rows, facility_location
from dcpi_core.registry import METHODS
from dcpi_core.signals import Signals


@METHODS.register(
    "craig",
    options=WeightedOptions,
    source="Mirzasoleiman et al., ICML 2020 (arXiv 1906.01827)",
    aliases=("graig",),  # as the paper of this service spells it
)
class Craig(Coreset):
    """Greedily lowers the summed distance of each gradient to its nearest chosen one."""

    reads = ("logits", "inputs")

    def pick(self, signals: Signals, count: int, generator: torch.Generator) -> Tensor:
        return facility_location(_nearness(signals.gradients()), len(signals), count)

    def weigh(self, signals: Signals, picked: Tensor) -> Tensor:
        """How many gradients each pick is the nearest one of; the first of several."""
        gradients = _Distances(signals.gradients())
        nearest = torch.zeros(len(signals), dtype=torch.int64)
        least = torch.full((len(signals),), torch.inf, dtype=torch.float64)
        for position in range(0, len(picked), ROWS_AT_ONCE):
            apart, first = gradients.rows(picked[position : position + ROWS_AT_ONCE]).min(0)
            nearest = torch.where(apart < least, position + first, nearest)
            least = torch.minimum(least, apart)
        nearest[picked] = torch.arange(len(picked))  # its own, whatever copies there are
        return nearest.bincount(minlength=len(picked))


class _Distances:
    """Distances of gradients from one another, in float64.

    They are differences of large squares: float32 would leave near neighbours without a digit.
    """

    def __init__(self, gradients: OuterProducts) -> None:
        self._exact = OuterProducts(gradients.left.double(), gradients.right.double())
        self._squares = self._exact.squares
        self.bound = 2 * self._squares.max().sqrt()

    def rows(self, index: Tensor) -> Tensor:
        """Distances (b, n) of the b gradients at ``index`` from all; none from itself."""
        squares = self._squares
        apart = self._exact.products(index).mul_(-2).add_(squares)
        apart.add_(squares[index].unsqueeze(1))
        apart[torch.arange(len(index)), index] = 0.0
        return apart.clamp_(min=0).sqrt_()


def _nearness(gradients: OuterProducts) -> Rows:
    """A constant minus the distance of two gradients, in float32, never negative.

    The constant need only be as large as the largest distance: a larger one changes no pick, but
    for images that are nearer to one another than float32 resolves of it.
    """
    distances = _Distances(gradients)
    return lambda index: (distances.bound - distances.rows(index)).clamp_(min=0).float()
