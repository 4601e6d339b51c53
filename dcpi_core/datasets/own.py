"""Datasets of one's own: from pairs of image and label in memory, such as torchvision's.

Archives of class folders are another way (``datasets.archive``), for images that lie in files.
"""

import operator
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from reprlib import repr as shortened
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from dcpi_core.datasets.base import ImageDataset, Split
from dcpi_core.datasets.moments import Moments
from dcpi_core.datasets.pixels import is_grey, to_bytes
from dcpi_core.spec.dataset import DatasetFacts, License
from dcpi_core.spec.errors import InvalidInput

Pixels = NDArray[np.uint8]
Read = list[tuple[Pixels, int]]
"""Bytes (C, H, W) and label of each image, with as many channels as it has itself."""

UNKNOWN_LICENSE = License(name="not stated")


def from_samples(
    name: str,
    train: Iterable[tuple[Any, int]],
    test: Iterable[tuple[Any, int]],
    *,
    classes: Sequence[str] | None = None,
    image_size: int | None = None,
    license: License = UNKNOWN_LICENSE,
) -> ImageDataset:
    """A dataset from pairs of an image and its label.

    An image is a PIL image; an array of bytes, (H, W) or (H, W, C); or a tensor, (H, W) or
    (C, H, W), of bytes or of floats in [0, 1] as ``ToTensor`` makes them. It is turned upright and
    made opaque as images of archives are. If every image is grey the dataset has one channel,
    otherwise three.

    Args:
        name: what jobs and bundles call it.
        train: pairs, or anything with a length and indices that gives them, such as a dataset of
            torchvision; all are read once, in order.
        test: likewise.
        classes: names by label, which counts from 0; by default ``train.classes`` if there is such
            a thing, else the labels themselves.
        image_size: side of the square that every image is cropped and resized to; None if all are
            of one size already.
        license: terms of the images, which a bundle of originals carries on.

    Raises:
        InvalidInput: an image cannot be understood or has another size, a label is not one of the
            classes, a class has no images in one of the splits, or ``test.classes`` are not those
            of ``train``; says which.
    """
    named = getattr(train, "classes", classes)
    _check_same_classes(named, getattr(test, "classes", named))
    read = {
        split: _read(split, samples, image_size)
        for split, samples in (("train", train), ("test", test))
    }
    _check_sizes(read)
    channels = max(len(pixels) for pairs in read.values() for pixels, _ in pairs)
    first, second = (
        Split(
            torch.from_numpy(np.stack([_widened(pixels, channels) for pixels, _ in pairs])),
            torch.tensor([label for _, label in pairs], dtype=torch.int64),
        )
        for pairs in read.values()
    )
    classes = named if classes is None else classes
    return from_splits(name, first, second, classes=classes, license=license)


def from_splits(
    name: str,
    train: Split,
    test: Split,
    *,
    classes: Sequence[str] | None = None,
    license: License = UNKNOWN_LICENSE,
) -> ImageDataset:
    """A dataset from tensors; its mean and standard deviation are those of the training images.

    Args:
        name: what jobs and bundles call it.
        train: bytes (N, C, H, W) and labels (N,).
        test: likewise.
        classes: names by label, which counts from 0; by default the labels themselves.
        license: terms of the images, which a bundle of originals carries on.

    Raises:
        InvalidInput: an empty split, a label that is not one of the classes, a class without images
            in one of the splits, images of other shapes than the facts allow.
    """
    for split, part in (("train", train), ("test", test)):
        if not len(part):
            raise InvalidInput(f"{split} has no images")
    if classes is None:
        classes = [str(label) for label in range(int(train.labels.max()) + 1)]
    channels, height, width = train.images.shape[1:]
    moments = Moments(channels)
    for images in train.images.split(1000):
        moments.add(images.numpy())
    try:
        facts = DatasetFacts(
            name=name,
            title=name,
            classes=tuple(classes),
            train_per_class=train.count_per_class(len(classes)),
            num_test=len(test),
            channels=channels,
            height=height,
            width=width,
            mean=moments.mean(),
            std=moments.std(),
            license=license,
        )
        made = ImageDataset(facts, train, test)
    except ValidationError as error:
        found = error.errors()[0]
        raise InvalidInput(f"{found['loc'][0]}: {found['msg']}") from None
    except ValueError as error:
        raise InvalidInput(str(error)) from None
    for split, part in (("train", train), ("test", test)):
        _check_every_class(split, part, facts.classes)
    return made


def _check_same_classes(train: Sequence[str] | None, test: Sequence[str] | None) -> None:
    """Folders number the classes that they have: a label can mean another one in each."""
    if train is None or test is None:
        return
    for label, (ours, theirs) in enumerate(zip_longest(train, test)):
        if ours != theirs:
            raise InvalidInput(
                f"label {label} is {ours!r} by train.classes and {theirs!r} by test.classes; "
                "a label must mean the same class in both"
            )


def _check_every_class(split: str, part: Split, classes: Sequence[str]) -> None:
    counts = part.count_per_class(len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if not count]
    if empty:
        raise InvalidInput(
            f"{split} has no images of these classes: {shortened(empty)}. Every class needs images "
            "of both splits; where some are left out, number the labels of the others from 0 "
            "without gaps (torchvision's target_transform does) and give their names as classes"
        )


def _read(split: str, samples: Iterable[tuple[Any, int]], image_size: int | None) -> Read:
    found: Read = []
    for number, sample in enumerate(_each(samples)):
        try:
            image, label = sample
            opened = _opened(image)
            pixels = to_bytes(opened, 1 if is_grey(opened) else 3, image_size)
            found.append((pixels, operator.index(label)))
        except (TypeError, ValueError) as error:
            raise InvalidInput(
                f"{split} sample {number} is no image and its label: {error}"
            ) from None
    if not found:
        raise InvalidInput(f"{split} has no images")
    return found


def _each(samples: Any) -> Iterator[Any]:
    # Datasets with a length need not end their iteration by themselves.
    if hasattr(samples, "__getitem__") and hasattr(samples, "__len__"):
        return (samples[index] for index in range(len(samples)))
    return iter(samples)


def _opened(image: Any) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, Tensor):
        pixels = _bytes_of(image.detach().cpu()).numpy()
        image = pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels
    if not isinstance(image, np.ndarray):
        raise TypeError(f"{type(image).__name__} is no PIL image, array or tensor")
    if image.dtype != np.uint8:
        raise TypeError(f"an array of {image.dtype}; bytes (uint8) are expected")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
        raise ValueError(f"its shape is {image.shape}")
    return Image.fromarray(np.ascontiguousarray(image))


def _bytes_of(image: Tensor) -> Tensor:
    if not image.is_floating_point():
        return image
    if not bool(((image >= 0) & (image <= 1)).all()):
        raise ValueError("a tensor of floats outside [0, 1]; give images before normalisation")
    return (image * 255).round().to(torch.uint8)


def _check_sizes(read: dict[str, Read]) -> None:
    height, width = read["train"][0][0].shape[1:]
    for split, pairs in read.items():
        for number, (pixels, _) in enumerate(pairs):
            if pixels.shape[1:] != (height, width):
                raise InvalidInput(
                    f"{split} image {number} is {pixels.shape[2]} x {pixels.shape[1]} pixels, the "
                    f"first is {width} x {height}; give image_size to crop and resize them all to "
                    "one square"
                )


def _widened(pixels: Pixels, channels: int) -> Pixels:
    return np.broadcast_to(pixels, (channels, *pixels.shape[1:]))
