"""The identity of a dataset: one sha256 over all images and labels. Needs no torch."""

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

HEADING = b"dcpi-dataset-fingerprint/1\n"


class Fingerprint:
    """A sha256 that is fed the training split, then the test split.

    Per split: its name and the images' shape (N, C, H, W) as one line of JSON, the labels as
    little-endian int64, the images as uint8, both row-major.
    """

    def __init__(self) -> None:
        self._sha = hashlib.sha256(HEADING)

    def begin(self, split: str, shape: tuple[int, ...], labels: NDArray[np.int64]) -> None:
        """Start a split; its images follow."""
        self._sha.update(json.dumps([split, *shape]).encode() + b"\n")
        self._sha.update(np.ascontiguousarray(labels, dtype="<i8").data)

    def images(self, pixels: NDArray[np.uint8]) -> None:
        """Add the next images of the split, in any number of pieces."""
        self._sha.update(np.ascontiguousarray(pixels).data)

    def hexdigest(self) -> str:
        """The fingerprint of everything added so far."""
        return self._sha.hexdigest()
