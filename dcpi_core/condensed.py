"""The condensed set: what a method makes, a privileged type enriches, a student trains on.

What is trained on is exactly what is saved: these tensors go into the bundle unchanged.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from dcpi_core.networks import Layer, Network
from dcpi_core.ops.partition import labels_of_tiles, tiles_of
from dcpi_core.rng import Streams


@dataclass(frozen=True)
class StudentOutput:
    """One forward pass of a student, shared by all loss terms.

    ``maps`` are features (B, F, h, w) by number of block; ``logits`` are (B, K).
    """

    network: Network
    maps: Mapping[int, Tensor]
    logits: Tensor

    def at(self, layer: Layer) -> Tensor:
        """Features of a layer; it must have been asked for (``PrivilegedLabels.layer``)."""
        return self.maps[self.network.layer_number(layer)]

    @property
    def features(self) -> Tensor:
        """Features of the last block."""
        return self.at("final")


class PrivilegedLabels(ABC):
    """Labels of one privileged type for n images, and what a student does with them.

    Attributes:
        kind: the privileged type's name.
        replaces_hard_labels: the student learns from these in place of the class labels.
    """

    kind: ClassVar[str]
    replaces_hard_labels: ClassVar[bool] = False

    @property
    def layer(self) -> Layer | None:
        """The student's features that the loss looks at, if it looks at any."""
        return None

    @property
    def joint(self) -> bool:
        """Whether the loss relates the images of a batch to each other: it is not divided then."""
        return False

    @abstractmethod
    def loss(self, output: StudentOutput, labels: Tensor) -> Tensor:
        """This type's term of the student's objective, averaged over the batch (scalar)."""

    @abstractmethod
    def batch(self, index: Tensor) -> Self:
        """The labels of the images at ``index``."""

    @abstractmethod
    def to(self, device: torch.device) -> Self:
        """The same labels on another device."""

    @abstractmethod
    def as_values(self) -> Tensor:
        """What the labels say, as one tensor (n, ...), as students see it."""

    @abstractmethod
    def with_values(self, values: Tensor) -> Self:
        """Labels that say this instead, a tensor as from ``as_values``."""

    @abstractmethod
    def stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors to store, by short name, and JSON settings; ``restore`` is the inverse."""

    @classmethod
    @abstractmethod
    def restore(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Self:
        """Rebuild from what ``stored`` returned."""

    def for_student(self, network: Network, streams: Streams) -> Self:
        """The labels with whatever this student needs to learn from them."""
        return self

    def for_batch(self, generator: torch.Generator) -> Self:
        """The labels as this batch sees them, where chance decides."""
        return self

    def parameters(self) -> list[nn.Parameter]:
        """What is trained along with the student."""
        return []


@dataclass(frozen=True)
class CondensedSet:
    """Images in normalised space with all their labels.

    Attributes:
        images: (n, C, H, W) float32, mean and std of the source applied, never clamped.
        labels: (n,) int64; class-contiguous, unless the images were selected without regard to
            their class: then in the order of selection.
        privileged: at most one of each kind; a row for each image as students see it.
        source_indices: (n,) positions in the source's training split if the images were selected
            rather than synthesised.
        partition: students see each image as this many tiles along each side, enlarged.
            Privileged labels are those of the tiles, in the order of ``ops.partition.tiles_of``.
        weights: (n,) float32, not negative, mean one: how much the loss of each image counts where
            a coreset rule says so. Such a set has no privileged labels.
    """

    images: Tensor
    labels: Tensor
    privileged: tuple[PrivilegedLabels, ...] = field(default=())
    source_indices: Tensor | None = None
    partition: int = 1
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def tiles(self) -> int:
        """Images that students see in each stored one."""
        return self.partition**2

    def with_privileged(self, *labels: PrivilegedLabels) -> "CondensedSet":
        """The same images with these privileged labels instead."""
        return replace(self, privileged=labels)

    def as_seen(self) -> "CondensedSet":
        """The set that students train on: every tile an image of its own."""
        if self.partition == 1:
            return self
        images = tiles_of(self.images, self.partition)
        return CondensedSet(images, labels_of_tiles(self.labels, self.partition), self.privileged)
