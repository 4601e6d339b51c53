"""Forgetting events (Toneva et al., ICLR 2019): keep what the proxy keeps unlearning."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from dcpi_core.methods.coreset.base import Coreset, ProxyOptions
from dcpi_core.registry import METHODS
from dcpi_core.signals import Signals


class ForgettingOptions(ProxyOptions):
    """The proxy, and what an image says that it never learned."""

    never_learned: Literal["inf", "zero"] = Field(
        "inf",
        description="events of an image that was never classified correctly: inf, as published, "
        "ranks it first; zero, as widely used code does, among those never forgotten",
    )


@METHODS.register("forgetting", options=ForgettingOptions, source="Toneva et al., ICLR 2019")
class Forgetting(Coreset):
    """Keeps the images most often forgotten; among equals, those of the larger error (EL2N).

    A proxy of ten epochs has five events at most, so that most images are equals; by index the
    rule would then choose by the order of the data.
    """

    reads = ("forgetting", "learned", "el2n")

    def __init__(self, options: ForgettingOptions) -> None:
        super().__init__(options)
        self.never_learned = options.never_learned

    def pick(self, signals: Signals, count: int, generator: torch.Generator) -> Tensor:
        score = signals.forgetting
        if self.never_learned == "inf":
            score = torch.where(signals.learned, score, torch.iinfo(torch.int64).max)
        by_error = torch.argsort(signals.el2n, descending=True, stable=True)
        return by_error[torch.argsort(score[by_error], descending=True, stable=True)][:count]
