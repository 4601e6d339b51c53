"""Margin (Scheffer et al., IDA 2001): keep the images between two classes."""

from torch import Tensor

from dcpi_core.methods.coreset.base import ClassSignals, ProxyOptions, ScoreRule
from dcpi_core.registry import METHODS


@METHODS.register("margin", options=ProxyOptions, source="Scheffer et al., IDA 2001")
class Margin(ScoreRule):
    """Keeps the images whose two most probable classes are closest in probability."""

    uses_logits = True

    def score(self, signals: ClassSignals) -> Tensor:
        """Minus the lead of the first class over the second: higher is less certain."""
        assert signals.logits is not None
        first, second = signals.logits.double().softmax(1).topk(2, dim=1).values.unbind(1)
        return second - first
