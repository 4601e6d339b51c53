"""Entropy (Shannon; Settles 2009): keep the images on which the proxy hesitates most."""

from torch import Tensor

from dcpi_core.methods.coreset.base import ProxyOptions, ScoreRule
from dcpi_core.registry import METHODS
from dcpi_core.signals import Signals


@METHODS.register(
    "entropy", options=ProxyOptions, source="Settles, Active Learning Literature Survey, 2009"
)
class Entropy(ScoreRule):
    """Keeps the images whose predicted distribution has the highest entropy."""

    reads = ("logits",)

    def score(self, signals: Signals) -> Tensor:
        """Entropy in nats: higher is less certain."""
        logarithm = signals.logits.double().log_softmax(1)
        return -(logarithm.exp() * logarithm).sum(1)
