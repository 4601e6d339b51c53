"""Random selection: the baseline that every other method has to beat."""

import torch
from torch import Tensor

from dcpi_core.methods.coreset.base import Coreset, CoresetOptions
from dcpi_core.registry import METHODS
from dcpi_core.signals import Signals


@METHODS.register("random", options=CoresetOptions, source="baseline")
class Random(Coreset):
    """Images drawn uniformly without replacement."""

    def pick(self, signals: Signals, count: int, generator: torch.Generator) -> Tensor:
        return torch.randperm(len(signals), generator=generator)[:count]
