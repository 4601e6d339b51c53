"""Herding (Welling, ICML 2009): follow the class mean in feature space."""

import torch
from torch import Tensor

from dcpi_core.methods.coreset.base import Coreset, ProxyOptions
from dcpi_core.ops.greedy import herding
from dcpi_core.registry import METHODS
from dcpi_core.signals import Signals


@METHODS.register("herding", options=ProxyOptions, source="Welling, ICML 2009")
class Herding(Coreset):
    """Greedily keeps the mean of the chosen features near the mean of the class."""

    reads = ("features",)

    def pick(self, signals: Signals, count: int, generator: torch.Generator) -> Tensor:
        return herding(signals.features, count)
