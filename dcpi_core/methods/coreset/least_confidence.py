"""Least confidence (Lewis and Gale, SIGIR 1994): keep what the proxy is least sure of."""

from torch import Tensor

from dcpi_core.methods.coreset.base import ProxyOptions, ScoreRule
from dcpi_core.registry import METHODS
from dcpi_core.signals import Signals


@METHODS.register("least_confidence", options=ProxyOptions, source="Lewis and Gale, SIGIR 1994")
class LeastConfidence(ScoreRule):
    """Keeps the images whose most probable class has the lowest probability."""

    reads = ("logits",)

    def score(self, signals: Signals) -> Tensor:
        """Minus the largest log probability: higher is less confident."""
        return -signals.logits.double().log_softmax(1).amax(1)
