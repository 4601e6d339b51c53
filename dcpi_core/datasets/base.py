"""A dataset in memory: uint8 images, labels, and the facts that describe them."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dcpi_core.compute import sent
from dcpi_core.datasets.fingerprint import Fingerprint
from dcpi_core.spec.dataset import DatasetFacts


@dataclass(frozen=True, eq=False)
class Split:
    """Images with one label each.

    Attributes:
        images: uint8 (N, C, H, W). Kept as bytes: CIFAR-10 takes 150 MB, four times that as floats.
        labels: int64 (N,).
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"images must be uint8 (N, C, H, W), not {self.images.dtype} "
                f"{tuple(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must be int64 ({len(self.images)},), not {self.labels.dtype} "
                f"{tuple(self.labels.shape)}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def of_class(self, label: int) -> Tensor:
        """Indices of the images with this label, ascending; empty when there are none."""
        return self._members.get(label, self.labels.new_empty(0))

    def count_per_class(self, num_classes: int) -> tuple[int, ...]:
        """Images of each class 0 .. num_classes - 1."""
        return tuple(len(self.of_class(label)) for label in range(num_classes))

    @cached_property
    def _members(self) -> dict[int, Tensor]:
        order = torch.argsort(self.labels, stable=True)
        labels, counts = torch.unique_consecutive(self.labels[order], return_counts=True)
        parts = torch.split(order, counts.tolist())
        return dict(zip(labels.tolist(), parts, strict=True))


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """A source dataset that has been read.

    ``facts.fingerprint`` is that of these images and labels: filled in if it is empty, compared
    if it is not, since teachers, base sets and measured students are found again by it.

    Raises:
        ValueError: the facts do not describe these images, or are those of other images.
    """

    facts: DatasetFacts
    train: Split
    test: Split

    def __post_init__(self) -> None:
        _check_agreement(self.facts, self.train, self.test)
        found = fingerprint(self.train, self.test)
        _check_fingerprint(self.facts, found)
        object.__setattr__(self, "facts", self.facts.model_copy(update={"fingerprint": found}))

    def normalise(self, images: Tensor) -> Tensor:
        """``normalise`` with this dataset's facts."""
        return normalise(images, self.facts)

    def denormalise(self, images: Tensor) -> Tensor:
        """``denormalise`` with this dataset's facts."""
        return denormalise(images, self.facts)


def normalise(images: Tensor, facts: DatasetFacts) -> Tensor:
    """``(images / 255 - mean) / std`` of uint8 images (..., C, H, W), as float32."""
    if images.dtype != torch.uint8:
        raise ValueError(f"normalise takes uint8 images, not {images.dtype}")
    mean, std = _constants(facts, images.device)
    return images.to(torch.float32).div_(255).sub_(mean).div_(std)


def standardise(images: Tensor, facts: DatasetFacts) -> Tensor:
    """``(images - mean) / std`` of images in [0, 1] (..., C, H, W); differentiable in them."""
    mean, std = _constants(facts, images.device)
    return (images - mean) / std


def denormalise(images: Tensor, facts: DatasetFacts) -> Tensor:
    """The inverse of ``normalise``, clamped to [0, 1]."""
    mean, std = _constants(facts, images.device)
    return (images * std + mean).clamp_(0, 1)


def fingerprint(train: Split, test: Split) -> str:
    """The sha256 over both splits that ``DatasetFacts.fingerprint`` holds."""
    sha = Fingerprint()
    for name, split in (("train", train), ("test", test)):
        sha.begin(name, tuple(split.images.shape), split.labels.cpu().numpy())
        sha.images(split.images.cpu().numpy())
    return sha.hexdigest()


def _constants(facts: DatasetFacts, device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = (
        sent(torch.tensor(known, dtype=torch.float32), device).view(-1, 1, 1)
        for known in (facts.mean, facts.std)
    )
    return mean, std


def _check_fingerprint(facts: DatasetFacts, found: str) -> None:
    if facts.fingerprint not in ("", found):
        raise ValueError(
            f"{facts.name}: the facts are those of other images: their fingerprint is "
            f"{facts.fingerprint[:12]}, that of these images and labels {found[:12]}. "
            "datasets.from_splits measures the facts of changed images; with an empty fingerprint "
            "the facts are taken for theirs"
        )


def _check_agreement(facts: DatasetFacts, train: Split, test: Split) -> None:
    shape = (facts.channels, facts.height, facts.width)
    for name, split in (("train", train), ("test", test)):
        if tuple(split.images.shape[1:]) != shape:
            raise ValueError(
                f"{facts.name}: {name} images are {tuple(split.images.shape[1:])}, "
                f"the facts say {shape}"
            )
        if len(split) and not 0 <= int(split.labels.min()) <= int(split.labels.max()) < (
            facts.num_classes
        ):
            raise ValueError(f"{facts.name}: {name} labels outside 0 .. {facts.num_classes - 1}")
    counts = train.count_per_class(facts.num_classes)
    if (counts, len(test)) != (facts.train_per_class, facts.num_test):
        raise ValueError(
            f"{facts.name}: {counts} training images per class and {len(test)} test images, "
            f"the facts say {facts.train_per_class} and {facts.num_test}"
        )
