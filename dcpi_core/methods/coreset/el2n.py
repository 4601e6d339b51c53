"""EL2N (Paul et al., NeurIPS 2021): keep what the proxy gets wrong early in its training."""

from torch import Tensor

from dcpi_core.methods.coreset.base import EarlyScoreOptions, ScoreRule
from dcpi_core.registry import METHODS
from dcpi_core.signals import Signals


@METHODS.register(
    "el2n", options=EarlyScoreOptions, source="Paul et al., NeurIPS 2021 (arXiv 2107.07075)"
)
class EL2N(ScoreRule):
    """Keeps the images with the longest error vector, softmax minus label, in early epochs."""

    reads = ("el2n",)

    def score(self, signals: Signals) -> Tensor:
        """Length of the error, averaged over the early epochs: higher is harder."""
        return signals.el2n
