"""Forgetting events (Toneva et al., ICLR 2019): keep what the proxy keeps unlearning."""

import torch
from torch import Tensor

from dcpi_core.methods.coreset.base import Coreset, ProxyOptions
from dcpi_core.registry import METHODS
from dcpi_core.signals import Signals


@METHODS.register("forgetting", options=ProxyOptions, source="Toneva et al., ICLR 2019")
class Forgetting(Coreset):
    """Keeps the images most often forgotten; those never learned count as forgotten most."""

    def pick(self, signals: Signals, count: int, generator: torch.Generator) -> Tensor:
        never = torch.iinfo(torch.int64).max
        score = torch.where(signals.learned, signals.forgetting, never)
        return torch.argsort(score, descending=True, stable=True)[:count]
