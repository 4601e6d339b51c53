"""What a proxy says of every training image: the signals that coreset rules select by."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from dcpi_core.compute import Runtime
from dcpi_core.networks import Network
from dcpi_core.ops.last_layer import OuterProducts, last_layer_gradients
from dcpi_core.ops.validation_gain import Validation
from dcpi_core.spec.errors import TrainingDiverged
from dcpi_core.training import predict

Space = Literal["gradients", "features"]
"""What images are compared by."""


@dataclass(frozen=True, eq=False)
class Signals:
    """A proxy's view of n training images, in evaluation mode and without augmentation.

    What is not known has nothing to say of an image: it is (n, 0), and listed by ``missing``.

    Attributes:
        labels: (n,) int64 classes.
        features: (n, D) flattened features of the last block.
        inputs: (n, E) what the last linear layer reads; the features, in most networks.
        logits: (n, K).
        forgetting: (n,) forgetting events during the proxy's training.
        learned: (n,) whether the proxy ever classified the image correctly.
        el2n: (n,) length of the error in early epochs.
        grand: (n,) length of the last layer's gradient in early epochs.
        validation: images of all classes to validate on, for the rules that ask for them.
        held_out: (n,) which of the n images are among those.
    """

    labels: Tensor
    features: Tensor
    inputs: Tensor
    logits: Tensor
    forgetting: Tensor
    learned: Tensor
    el2n: Tensor
    grand: Tensor
    validation: Validation | None = None
    held_out: Tensor | None = None

    @classmethod
    def of_labels(
        cls, labels: Tensor, *, features: Tensor | None = None, logits: Tensor | None = None
    ) -> "Signals":
        """The classes (n,), and what a network of one's own says: (n, D) and (n, K)."""
        nothing = torch.empty(len(labels), 0)
        features = nothing if features is None else features
        logits = nothing if logits is None else logits
        return cls(labels, features, features, logits, nothing, nothing, nothing, nothing)

    @classmethod
    def restore(cls, stored: Mapping[str, Tensor]) -> "Signals":
        """The inverse of ``stored``."""
        known: dict[str, Any] = {"inputs": stored["features"], **stored}
        return cls(**known)

    def stored(self) -> dict[str, Tensor]:
        """The signals by name, as they are kept on disk: nothing that is drawn for one job."""
        found = {name: getattr(self, name) for name in STORED}
        if self.inputs is self.features:
            del found["inputs"]
        return found

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def missing(self) -> list[str]:
        """Names of the signals that are not known."""
        found = ((name, getattr(self, name)) for name in STORED)
        return [name for name, tensor in found if tensor.shape[1:] == (0,)]

    def at(self, index: Tensor) -> "Signals":
        """The signals of the images at ``index``, nothing of them in half precision."""
        own = {name: _full(tensor[index]) for name, tensor in self.stored().items()}
        held_out = None if self.held_out is None else self.held_out[index]
        return replace(Signals.restore(own), validation=self.validation, held_out=held_out)

    def gradients(self) -> OuterProducts:
        """Gradients of the proxy's last layer, to a common scale that keeps squares in range."""
        found = last_layer_gradients(self.logits, self.labels, self.inputs)
        largest = found.left.abs().max()
        scale = torch.where(largest > 0, largest, 1)
        return OuterProducts(found.left / scale, found.right)

    def vectors(self, space: Space) -> OuterProducts:
        """What images are compared by."""
        if space == "gradients":
            return self.gradients()
        return OuterProducts(self.features.new_ones(len(self), 1), self.features)


STORED = tuple(field.name for field in fields(Signals) if field.default is MISSING)


class Outputs(NamedTuple):
    """Features (n, D), inputs of the last layer (n, E) and logits (n, K) of n images."""

    features: Tensor
    inputs: Tensor
    logits: Tensor


@torch.no_grad()
def outputs_of(network: Network, batches: Iterator[Tensor], runtime: Runtime) -> Outputs:
    """What a trained network makes of normalised images, on the CPU.

    Features are kept in float16, half the size on disk and in memory, unless they leave its range.

    Raises:
        TrainingDiverged: the network says something that is not a number.
    """
    parts = [
        Outputs(
            _compact(features.flatten(1)), _compact(network.last_inputs(features)), logits.cpu()
        )
        for features, logits in predict(network, batches, runtime)
    ]
    features, inputs, logits = (torch.cat(part) for part in zip(*parts, strict=True))
    if torch.equal(features, inputs):  # most networks read them as they are: kept once
        inputs = features
    made = Outputs(features, inputs, logits)
    if not all(bool(tensor.isfinite().all()) for tensor in made):
        raise TrainingDiverged("training of the proxy diverged: its features are not finite")
    return made


def _compact(found: Tensor) -> Tensor:
    half = found.half()
    return (half if bool(half.isfinite().all()) else found).cpu()


def _full(found: Tensor) -> Tensor:
    return found.float() if found.dtype in (torch.float16, torch.bfloat16) else found
