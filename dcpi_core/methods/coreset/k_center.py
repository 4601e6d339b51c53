"""k-center greedy (Sener and Savarese, ICLR 2018): cover the class, farthest first."""

import torch
from torch import Tensor

from dcpi_core.methods.coreset.base import Coreset, ProxyOptions
from dcpi_core.ops.greedy import k_center
from dcpi_core.registry import METHODS
from dcpi_core.signals import Signals


@METHODS.register("k_center", options=ProxyOptions, source="Sener and Savarese, ICLR 2018")
class KCenter(Coreset):
    """Each pick is the image farthest, in feature space, from all picked before it.

    The first is the image nearest to the class mean, which makes the selection deterministic.
    """

    reads = ("features",)

    def pick(self, signals: Signals, count: int, generator: torch.Generator) -> Tensor:
        return k_center(signals.features, count)
