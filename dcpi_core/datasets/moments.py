"""Mean and standard deviation of the pixels of a channel, exact whatever the number of images."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SMALLEST_STD = 1 / 255
"""One grey level: a channel without any contrast would otherwise be divided by zero."""


class Moments:
    """Counts the bytes of each channel; ``add`` images in pieces of any size."""

    def __init__(self, channels: int) -> None:
        self._counts = np.zeros((channels, 256), dtype=np.int64)

    def add(self, images: NDArray[np.uint8]) -> None:
        """Count the pixels of images (n, C, H, W)."""
        for channel, counts in enumerate(self._counts):
            counts += np.bincount(images[:, channel].ravel(), minlength=256)

    def mean(self) -> tuple[float, ...]:
        """Per channel, of pixels scaled to [0, 1]; six decimals."""
        return tuple(round(float(first / n / 255), 6) for n, first, _ in self._sums())

    def std(self) -> tuple[float, ...]:
        """Likewise, and at least ``SMALLEST_STD``."""
        exact = (math.sqrt(n * second - first**2) / n / 255 for n, first, second in self._sums())
        return tuple(round(max(value, SMALLEST_STD), 6) for value in exact)

    def _sums(self) -> Iterator[tuple[int, int, int]]:
        """Per channel: number of pixels, sum and sum of squares, as unbounded integers."""
        for counts in self._counts.tolist():
            yield (
                sum(counts),
                sum(value * count for value, count in enumerate(counts)),
                sum(value**2 * count for value, count in enumerate(counts)),
            )
