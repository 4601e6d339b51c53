"""CRAIG (Mirzasoleiman et al., ICML 2020): chosen gradients stand near all gradients."""

import torch
from torch import Tensor

from dcpi_core.methods.coreset.base import Coreset, WeightedOptions
from dcpi_core.ops.last_layer import OuterProducts
from dcpi_core.ops.submodular import Rows, facility_location
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

    def pick(self, signals: Signals, count: int, generator: torch.Generator) -> Tensor:
        return facility_location(_nearness(signals.gradients()), len(signals), count)

    def weigh(self, signals: Signals, picked: Tensor) -> Tensor:
        """How many gradients each pick is the nearest one of; the first of several."""
        near = _nearness(signals.gradients())(picked)
        near[torch.arange(len(picked)), picked] = torch.inf  # its own, whatever copies there are
        return near.argmax(0).bincount(minlength=len(picked))


def _nearness(gradients: OuterProducts) -> Rows:
    """A constant minus the distance of two gradients, in float32, never negative.

    The constant need only be as large as the largest distance: a larger one changes no pick.
    """
    # A difference of large squares: float32 would leave near neighbours without a digit.
    exact = OuterProducts(gradients.left.double(), gradients.right.double())
    squares = exact.squares
    farthest = 2 * squares.max().sqrt()

    def rows(index: Tensor) -> Tensor:
        apart = exact.products(index).mul_(-2).add_(squares).add_(squares[index].unsqueeze(1))
        apart[torch.arange(len(index)), index] = 0.0
        return (farthest - apart.clamp_(min=0).sqrt_()).clamp_(min=0).float()

    return rows
