"""Published datasets that torchvision can read: CIFAR, MNIST, Fashion-MNIST and SVHN.

torchvision unpickles CIFAR's batches. It compares their MD5 sums first, so what is unpickled is
what the University of Toronto published.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dcpi_core.datasets.base import ImageDataset, Split
from dcpi_core.datasets.download import default_root, fetch, unavailable
from dcpi_core.datasets.published import (
    CIFAR10,
    CIFAR100,
    FASHION_MNIST,
    MNIST,
    SOURCES,
    SVHN,
    Source,
)
from dcpi_core.datasets.torchvision_shim import load_torchvision
from dcpi_core.registry import DATASETS
from dcpi_core.spec.dataset import DatasetFacts

Loader = Callable[[Path | None], ImageDataset]


def _registered(facts: DatasetFacts) -> Callable[[Loader], Loader]:
    return DATASETS.register(
        facts.name,
        source=facts.citation,
        facts=facts.model_dump(mode="json", exclude={"fingerprint"}),
    )


@_registered(CIFAR10)
def load_cifar10(root: Path | None = None) -> ImageDataset:
    """CIFAR-10: 32 x 32 colour photographs of ten kinds of animals and vehicles."""
    return read(CIFAR10, root)


@_registered(CIFAR100)
def load_cifar100(root: Path | None = None) -> ImageDataset:
    """CIFAR-100: 32 x 32 colour photographs of a hundred kinds of things."""
    return read(CIFAR100, root)


@_registered(MNIST)
def load_mnist(root: Path | None = None) -> ImageDataset:
    """MNIST: 28 x 28 grey handwritten digits."""
    return read(MNIST, root)


@_registered(FASHION_MNIST)
def load_fashion_mnist(root: Path | None = None) -> ImageDataset:
    """Fashion-MNIST: 28 x 28 grey product pictures of ten kinds of clothing."""
    return read(FASHION_MNIST, root)


@_registered(SVHN)
def load_svhn(root: Path | None = None) -> ImageDataset:
    """SVHN: 32 x 32 colour house numbers, each centred on one digit."""
    return read(SVHN, root)


def read(facts: DatasetFacts, root: Path | None) -> ImageDataset:
    """Read the dataset from ``root``, downloading it first if that is needed and possible.

    Raises:
        DatasetUnavailable: it is not there and cannot be downloaded.
    """
    root = root or default_root()
    source = SOURCES[facts.name]
    try:
        train, test = _open(source, root, unpack=False)
    except RuntimeError:  # torchvision: not found or corrupted
        fetch(facts.name, source.files, root)
        try:
            train, test = _open(source, root, unpack=True)
        except (OSError, RuntimeError) as error:
            reason = f"its files cannot be unpacked: {error}"
            raise unavailable(facts.name, source.files, root, reason) from error
    return ImageDataset(facts, train, test)


def _open(source: Source, root: Path, *, unpack: bool) -> tuple[Split, Split]:
    """Both splits. ``unpack`` is torchvision's ``download``: with the files there, it unpacks."""
    reader = getattr(load_torchvision().datasets, source.reader)
    argument, *values = source.split_argument
    opened = [reader(str(root), **{argument: value}, download=unpack) for value in values]
    train, test = (
        to_split(part.data, getattr(part, source.labels), source.channels_last) for part in opened
    )
    return train, test


def to_split(data: Any, labels: Any, channels_last: bool) -> Split:
    """Images and labels in the form torchvision holds them, as a Split."""
    images = torch.as_tensor(data)
    if images.ndim == 3:
        images = images.unsqueeze(1)
    elif channels_last:
        images = images.permute(0, 3, 1, 2)
    return Split(images.contiguous(), torch.as_tensor(labels, dtype=torch.int64))
