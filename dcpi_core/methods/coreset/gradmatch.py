"""GradMatch (Killamsetty et al., ICML 2021): few gradients whose sum is the mean of all."""

import torch
from pydantic import Field
from torch import Tensor

from dcpi_core.methods.coreset.base import Coreset, WeightedOptions
from dcpi_core.ops.gradient_matching import matching_pursuit, pursuit_weights
from dcpi_core.registry import METHODS
from dcpi_core.signals import Signals


class GradMatchOptions(WeightedOptions):
    """How strongly the weights inside the pursuit are held back."""

    ridge: float = Field(
        1e-3, gt=0, le=100, description="regularisation, relative to the mean squared gradient"
    )


@METHODS.register(
    "gradmatch",
    options=GradMatchOptions,
    source="Killamsetty et al., ICML 2021 (arXiv 2103.00123)",
)
class GradMatch(Coreset):
    """Orthogonal matching pursuit of the class's mean gradient."""

    reads = ("logits", "inputs")

    def __init__(self, options: GradMatchOptions) -> None:
        super().__init__(options)
        self.ridge = options.ridge

    def pick(self, signals: Signals, count: int, generator: torch.Generator) -> Tensor:
        return matching_pursuit(signals.gradients(), count, self.ridge)

    def weigh(self, signals: Signals, picked: Tensor) -> Tensor:
        """The weights, not negative, with which the picks come nearest to the mean gradient."""
        found = pursuit_weights(signals.gradients(), picked, self.ridge)
        if not bool(found.any()):  # nothing to match: all gradients are zero
            found = torch.ones_like(found)
        return found * (len(signals) / found.sum())
