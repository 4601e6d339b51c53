"""Entropy (Shannon; Settles 2009): keep the images on which the proxy hesitates most."""

from torch import Tensor

from dcpi_core.methods.coreset.base import ClassSignals, ProxyOptions, ScoreRule
from dcpi_core.registry import METHODS


@METHODS.register(
    "entropy", options=ProxyOptions, source="Settles, Active Learning Literature Survey, 2009"
)
class Entropy(ScoreRule):
    """Keeps the images whose predicted distribution has the highest entropy."""

    uses_logits = True

    def score(self, signals: ClassSignals) -> Tensor:
        """Entropy in nats: higher is less certain."""
        assert signals.logits is not None
        logarithm = signals.logits.double().log_softmax(1)
        return -(logarithm.exp() * logarithm).sum(1)
