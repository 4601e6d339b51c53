"""Herding (Welling, ICML 2009): follow the class mean in feature space."""

import torch
from torch import Tensor

from dcpi_core.methods.coreset.base import ClassSignals, Coreset, ProxyOptions
from dcpi_core.ops.greedy import herding
from dcpi_core.registry import METHODS


@METHODS.register("herding", options=ProxyOptions, source="Welling, ICML 2009")
class Herding(Coreset):
    """Greedily keeps the mean of the chosen features near the mean of the class."""

    uses_features = True

    def pick(
        self,
        signals: ClassSignals,
        count: int,
        generator: torch.Generator,
    ) -> Tensor:
        assert signals.features is not None
        return herding(signals.features, count)
