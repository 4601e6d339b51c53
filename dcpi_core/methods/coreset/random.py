"""Random selection: the baseline that every other method has to beat."""

import torch
from torch import Tensor

from dcpi_core.methods.coreset.base import ClassSignals, Coreset
from dcpi_core.registry import METHODS


@METHODS.register("random", source="baseline")
class Random(Coreset):
    """Images drawn uniformly without replacement, the same number from each class."""

    def pick(self, signals: ClassSignals, count: int, generator: torch.Generator) -> Tensor:
        return torch.randperm(signals.size, generator=generator)[:count]
