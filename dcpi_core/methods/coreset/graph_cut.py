"""Graph cut: images like the whole class and unlike each other."""

import torch
from torch import Tensor

from dcpi_core.methods.coreset.base import Coreset, SimilarityOptions
from dcpi_core.ops.submodular import graph_cut
from dcpi_core.registry import METHODS
from dcpi_core.signals import Signals


@METHODS.register(
    "graph_cut", options=SimilarityOptions, source="Iyer et al., ALT 2021 (arXiv 2006.15412)"
)
class GraphCut(Coreset):
    """Greedily maximises similarity to the class minus similarity within the selection."""

    def __init__(self, options: SimilarityOptions) -> None:
        super().__init__(options)
        self.space = options.space
        self.reads = ("features",) if options.space == "features" else ("logits", "inputs")

    def pick(self, signals: Signals, count: int, generator: torch.Generator) -> Tensor:
        return graph_cut(signals.vectors(self.space), count)
