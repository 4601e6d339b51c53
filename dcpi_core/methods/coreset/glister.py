"""GLISTER (Killamsetty et al., AAAI 2021): images whose step helps images held out."""

import torch
from pydantic import Field
from torch import Tensor

from dcpi_core.methods.coreset.base import Coreset, ProxyOptions
from dcpi_core.ops.last_layer import last_layer_gradients
from dcpi_core.ops.validation_gain import validation_gain
from dcpi_core.registry import METHODS
from dcpi_core.signals import Signals


class GlisterOptions(ProxyOptions):
    """The step that is imagined for each pick."""

    step_size: float = Field(
        0.01, gt=0, le=10, description="learning rate of the step on the last layer"
    )


@METHODS.register(
    "glister", options=GlisterOptions, source="Killamsetty et al., AAAI 2021 (arXiv 2012.10630)"
)
class Glister(Coreset):
    """Greedily lowers the loss of held-out training images by steps of the last layer.

    Images held out are chosen last, when a class has no others left.
    """

    reads = ("logits", "inputs")
    uses_validation = True

    def __init__(self, options: GlisterOptions) -> None:
        super().__init__(options)
        self.step_size = options.step_size

    def pick(self, signals: Signals, count: int, generator: torch.Generator) -> Tensor:
        assert signals.validation is not None
        held_out = signals.held_out
        if held_out is None:  # images of the caller's own, none of them to choose from
            held_out = torch.zeros(len(signals), dtype=torch.bool)
        free = (~held_out).nonzero().squeeze(1)
        gradients = last_layer_gradients(
            signals.logits[free], signals.labels[free], signals.inputs[free]
        )
        wanted = min(count, len(free))
        order = validation_gain(gradients, signals.validation, wanted, self.step_size)
        last = held_out.nonzero().squeeze(1)[: count - wanted]
        return torch.cat([free[order], last])
