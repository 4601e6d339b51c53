"""EL2N (Paul et al., NeurIPS 2021): keep what the proxy gets wrong early in its training."""

from torch import Tensor

from dcpi_core.methods.coreset.base import ClassSignals, EarlyScoreOptions, ScoreRule
from dcpi_core.registry import METHODS


@METHODS.register(
    "el2n", options=EarlyScoreOptions, source="Paul et al., NeurIPS 2021 (arXiv 2107.07075)"
)
class EL2N(ScoreRule):
    """Keeps the images with the longest error vector, softmax minus label, in early epochs."""

    uses_training = True

    def score(self, signals: ClassSignals) -> Tensor:
        """Length of the error, averaged over the early epochs: higher is harder."""
        assert signals.el2n is not None
        return signals.el2n
