"""Margin (Scheffer et al., IDA 2001): keep the images between two classes."""

from torch import Tensor

from dcpi_core.methods.coreset.base import ProxyOptions, ScoreRule
from dcpi_core.registry import METHODS
from dcpi_core.signals import Signals


@METHODS.register("margin", options=ProxyOptions, source="Scheffer et al., IDA 2001")
class Margin(ScoreRule):
    """Keeps the images whose two most probable classes are closest in probability."""

    reads = ("logits",)

    def score(self, signals: Signals) -> Tensor:
        """Minus the lead of the first class over the second: higher is less certain."""
        first, second = signals.logits.double().softmax(1).topk(2, dim=1).values.unbind(1)
        return second - first
