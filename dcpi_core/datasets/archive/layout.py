"""From names to classes and splits: where each image goes in the canonical file."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from pydantic import Field

from dcpi_core.datasets.archive.limits import Limits
from dcpi_core.datasets.archive.names import Parts
from dcpi_core.datasets.archive.refusal import quote, refuse
from dcpi_core.datasets.archive.survey import Contents
from dcpi_core.datasets.canonical import SPLITS, Labels
from dcpi_core.spec.base import Record, Seed

EXPECTED = "expected train/<class>/<image> and test/<class>/<image>, or <class>/<image>"

Classes = dict[str, list[str]]
"""The images of each class."""


class Preparation(Record):
    """What the user decides about how an archive is read."""

    seed: Seed = 0
    image_size: int | None = Field(default=None, ge=8, le=1024)
    test_fraction: float = Field(default=0.2, gt=0, lt=1)


@dataclass(frozen=True)
class Layout:
    """The order of everything in the canonical file.

    Attributes:
        classes: names in the order of their labels.
        labels: for "train" and "test" the label of each image, ascending.
        places: for each image of the archive its split and its index there.
    """

    classes: tuple[str, ...]
    labels: dict[str, Labels]
    places: dict[str, tuple[str, int]]

    @classmethod
    def of(cls, splits: dict[str, Classes]) -> "Layout":
        """Classes ordered by name, images by class and then by name."""
        classes = tuple(sorted(splits["train"]))
        labels: dict[str, Labels] = {}
        places: dict[str, tuple[str, int]] = {}
        for split in SPLITS:
            members = [sorted(splits[split][name]) for name in classes]
            counts = [len(images) for images in members]
            labels[split] = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
            ordered = (image for images in members for image in images)
            places |= {image: (split, index) for index, image in enumerate(ordered)}
        return cls(classes, labels, places)


def arrange(contents: Contents, how: Preparation, limits: Limits) -> Layout:
    """Find the class folders and the test images.

    Raises:
        ArchiveError: the folders are not laid out as expected, or a class has too few images.
    """
    depth = _common_depth(contents.images)
    root = _wrapping_folder(contents.images, depth)
    level = depth - len(root)
    if level not in (2, 3):
        misplaced = quote(min(contents.images))
        raise refuse(f"entry {misplaced} does not lie where an image can; {EXPECTED}")
    splits = _given_splits(contents.images) if level == 3 else {}
    classes = splits["train"] if splits else _by_class(contents.images)
    _check_number(classes, limits)
    _check_others(contents, root, depth, classes)
    return Layout.of(splits or _split_off_test(classes, how))


def _common_depth(images: Iterable[str]) -> int:
    """The number of components that every name has."""
    examples = {name.count("/") + 1: name for name in images}
    if not examples:
        raise refuse(f"the archive has no images; {EXPECTED}")
    if len(examples) > 1:
        first, second, *_ = (quote(examples[depth]) for depth in sorted(examples))
        raise refuse(f"entries {first} and {second} lie at different depths; {EXPECTED}")
    return next(iter(examples))


def _wrapping_folder(images: Iterable[str], depth: int) -> Parts:
    """The one folder that holds all class folders, if there is one."""
    tops = {name.partition("/")[0] for name in images}
    if depth < 3 or len(tops) > 1 or tops <= set(SPLITS):
        return ()
    return (tops.pop(),)


def _given_splits(images: Iterable[str]) -> dict[str, Classes]:
    by_top: dict[str, list[str]] = defaultdict(list)
    for name in images:
        by_top[name.split("/")[-3]].append(name)
    if set(by_top) != set(SPLITS):
        found = ", ".join(quote(name) for name in sorted(by_top)[:10])
        raise refuse(f"the folders that hold class folders are {found}; {EXPECTED}")
    splits = {split: _by_class(by_top[split]) for split in SPLITS}
    for one, other in (("train", "test"), ("test", "train")):
        missing = sorted(set(splits[other]) - set(splits[one]))
        if missing:
            raise refuse(
                f"class {quote(missing[0])} has images in {other}/ but none in {one}/; "
                "every class must be in both"
            )
    return splits


def _by_class(images: Iterable[str]) -> Classes:
    classes: Classes = defaultdict(list)
    for name in images:
        classes[name.split("/")[-2]].append(name)
    return dict(classes)


def _split_off_test(classes: Classes, how: Preparation) -> dict[str, Classes]:
    train: Classes = {}
    test: Classes = {}
    for label, images in classes.items():
        if len(images) < 2:
            raise refuse(
                f"class {quote(label)} has a single image; without a test/ folder every class "
                "needs two or more, so that some can be held out"
            )
        # By hash and not by shuffle: the choice depends on seed and names alone.
        order = sorted(images, key=partial(_rank, how.seed, label))
        held_out = min(max(1, round(len(images) * how.test_fraction)), len(images) - 1)
        test[label], train[label] = order[:held_out], order[held_out:]
    return {"train": train, "test": test}


def _rank(seed: int, label: str, name: str) -> bytes:
    text = "\0".join((str(seed), label, name.rpartition("/")[2]))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _check_number(classes: Classes, limits: Limits) -> None:
    if set(classes) <= set(SPLITS):
        raise refuse(f"the images lie directly in {' and '.join(sorted(classes))}; {EXPECTED}")
    if len(classes) < 2:
        raise refuse(f"the only class is {quote(min(classes))}; there must be at least two")
    if len(classes) > limits.classes:
        raise refuse(f"there are {len(classes)} classes; at most {limits.classes} are allowed")
    named = sum(len(name.encode()) for name in classes)
    if named > limits.class_name_bytes:
        raise refuse(
            f"the names of the {len(classes)} classes take {named} bytes, that of class "
            f"{quote(max(classes, key=len))} the most of them; at most {limits.class_name_bytes} "
            "bytes are allowed in all"
        )


def _check_others(contents: Contents, root: Parts, depth: int, classes: Classes) -> None:
    for parts in contents.texts:
        if parts[:-1] not in ((), root):
            raise refuse(
                f"entry {quote('/'.join(parts))} is not an image; "
                "text files are allowed at the top only"
            )
    for parts in contents.folders:
        if len(parts) == depth - 1 and parts[-1] not in classes:
            raise refuse(f"class folder {quote('/'.join(parts))} holds no images")
