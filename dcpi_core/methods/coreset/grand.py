"""GraNd (Paul et al., NeurIPS 2021): keep what moves the last layer most, early in training."""

from torch import Tensor

from dcpi_core.methods.coreset.base import EarlyScoreOptions, ScoreRule
from dcpi_core.registry import METHODS
from dcpi_core.signals import Signals


@METHODS.register(
    "grand", options=EarlyScoreOptions, source="Paul et al., NeurIPS 2021 (arXiv 2107.07075)"
)
class GraNd(ScoreRule):
    """Keeps the images with the longest gradient of the last layer in early epochs."""

    reads = ("grand",)

    def score(self, signals: Signals) -> Tensor:
        """Length of the gradient, averaged over the early epochs: higher is harder."""
        return signals.grand
