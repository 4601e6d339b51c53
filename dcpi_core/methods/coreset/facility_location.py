"""Facility location: every image of the class has a chosen one that resembles it."""

import torch
from torch import Tensor

from dcpi_core.methods.coreset.base import Coreset, SimilarityOptions
from dcpi_core.ops.submodular import facility_location
from dcpi_core.registry import METHODS
from dcpi_core.signals import Signals


@METHODS.register(
    "facility_location",
    options=SimilarityOptions,
    source="Iyer et al., ALT 2021 (arXiv 2006.15412)",
)
class FacilityLocation(Coreset):
    """Greedily raises the summed similarity of each image to its most similar chosen one."""

    def __init__(self, options: SimilarityOptions) -> None:
        super().__init__(options)
        self.space = options.space
        self.reads = ("features",) if options.space == "features" else ("logits", "inputs")

    def pick(self, signals: Signals, count: int, generator: torch.Generator) -> Tensor:
        unit = signals.vectors(self.space).unit()

        def rows(index: Tensor) -> Tensor:
            # Rounding can leave a cosine just below -1; a zero vector still resembles itself.
            near = unit.products(index).add_(1).div_(2).clamp_(min=0)
            near[torch.arange(len(index)), index] = 1.0
            return near

        return facility_location(rows, len(signals), count)
