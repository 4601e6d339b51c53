"""The condensed set: what a method makes, a privileged type enriches, a student trains on.

What is trained on is exactly what is saved: these tensors go into the bundle unchanged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from dcpi_core.networks import Network


@dataclass(frozen=True)
class StudentOutput:
    """One forward pass of a student, shared by all loss terms.

    ``features`` are those of the last block, (B, F, h, w); ``logits`` are (B, K).
    """

    network: Network
    images: Tensor
    features: Tensor
    logits: Tensor


class PrivilegedLabels(Protocol):
    """Labels of one privileged type for n images, and what a student does with them."""

    kind: str
    replaces_hard_labels: bool

    def loss(self, output: StudentOutput, labels: Tensor) -> Tensor:
        """This type's term of the student's objective, averaged over the batch (scalar)."""
        ...

    def batch(self, index: Tensor) -> Self:
        """The labels of the images at ``index``."""
        ...

    def to(self, device: torch.device) -> Self:
        """The same labels on another device."""
        ...

    def stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors to store, by short name, and JSON settings; ``restore`` is the inverse."""
        ...

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Self:
        """Rebuild from what ``stored`` returned."""
        ...


@dataclass(frozen=True)
class CondensedSet:
    """Images in normalised space with all their labels.

    Attributes:
        images: (n, C, H, W) float32, mean and std of the source applied, never clamped.
        labels: (n,) int64, class-contiguous.
        privileged: at most one of each kind.
        source_indices: (n,) positions in the source's training split if the images were selected
            rather than synthesised.
    """

    images: Tensor
    labels: Tensor
    privileged: tuple[PrivilegedLabels, ...] = field(default=())
    source_indices: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def with_privileged(self, *labels: PrivilegedLabels) -> "CondensedSet":
        """The same images with these privileged labels instead."""
        return replace(self, privileged=labels)
