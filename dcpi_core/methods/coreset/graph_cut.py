"""Graph cut: images like the whole class and unlike each other."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from dcpi_core.methods.coreset.base import Coreset, SimilarityOptions
from dcpi_core.ops.submodular import graph_cut
from dcpi_core.registry import METHODS
from dcpi_core.signals import Signals


class GraphCutOptions(SimilarityOptions):
    """What is compared, and how heavily likeness among the picks weighs."""

    redundancy: Literal["balanced", "one"] = Field(
        "balanced",
        description="weight of similarity within the selection: balanced, n / 2t at pick t of n "
        "images, keeps it as heavy as similarity to the class; one, as widely used code has it, "
        "lets the latter decide almost alone where picks are few",
    )


@METHODS.register(
    "graph_cut",
    options=GraphCutOptions,
    source="Iyer et al., ALT 2021 (arXiv 2006.15412); Chen et al., UAI 2010",
)
class GraphCut(Coreset):
    """Greedily maximises similarity to the class minus similarity within the selection."""

    def __init__(self, options: GraphCutOptions) -> None:
        super().__init__(options)
        self.space = options.space
        self.redundancy = None if options.redundancy == "balanced" else 1.0
        self.reads = ("features",) if options.space == "features" else ("logits", "inputs")

    def pick(self, signals: Signals, count: int, generator: torch.Generator) -> Tensor:
        return graph_cut(signals.vectors(self.space), count, self.redundancy)
