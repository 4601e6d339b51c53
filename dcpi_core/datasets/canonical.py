"""The file that an upload becomes: one safetensors file with images, labels and facts.

It is written in place, image by image, in whatever order the images arrive, so that memory stays
at one image however large the dataset is. Needs no torch; ``loading.load_prepared`` reads it.
"""

import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dcpi_core.datasets.fingerprint import Fingerprint
from dcpi_core.datasets.moments import Moments
from dcpi_core.spec.dataset import DatasetFacts

FORMAT = "dcpi-dataset/1"
SPLITS = ("train", "test")
CHUNK_BYTES = 1 << 22
HEADER_RESERVE = 1024
"""Room for what is known only at the end: mean, std and fingerprint."""

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


class CanonicalWriter:
    """Fills a canonical file: ``put`` every image once, then ``finish``."""

    def __init__(
        self,
        file: IO[bytes],
        draft: DatasetFacts,
        labels: Mapping[str, Labels],
        preparation: Mapping[str, Any],
    ) -> None:
        """Lay the file out.

        Args:
            file: opened for reading and writing, empty.
            draft: the facts, of which mean, std and fingerprint are still to come.
            labels: "train" and "test": the label of each image.
            preparation: JSON-compatible settings, kept in the file as provenance.
        """
        self._fd = file.fileno()
        self._draft = draft
        self._labels = labels
        self._preparation = preparation
        self._image_shape = (draft.channels, draft.height, draft.width)
        tensors, size = _place(labels, self._image_shape)
        self._tensors = tensors
        room = len(self._header(draft)) + HEADER_RESERVE
        self._start = 8 + room + -room % 8
        os.truncate(self._fd, self._start + size)
        for split in SPLITS:
            self._write(labels[split].astype("<i8").tobytes(), self._offset(f"{split}_labels"))

    def put(self, split: str, index: int, image: Images) -> None:
        """Store one image (C, H, W) at its place."""
        assert image.shape == self._image_shape
        at = self._offset(f"{split}_images") + index * image.nbytes
        self._write(image.tobytes(), at)

    def finish(self) -> DatasetFacts:
        """Measure what was written, complete the header and return the facts."""
        sha = Fingerprint()
        moments = Moments(self._draft.channels)
        for split in SPLITS:
            labels = self._labels[split]
            sha.begin(split, (len(labels), *self._image_shape), labels)
            for images in self._read_images(split):
                sha.images(images)
                if split == "train":
                    moments.add(images)
        measured = {"mean": moments.mean(), "std": moments.std(), "fingerprint": sha.hexdigest()}
        facts = self._draft.model_copy(update=measured)
        # Spaces after the JSON are part of the safetensors format.
        header = self._header(facts).ljust(self._start - 8)
        assert len(header) == self._start - 8
        self._write(struct.pack("<Q", len(header)) + header, 0)
        return facts

    def _header(self, facts: DatasetFacts) -> bytes:
        metadata = {
            "format": FORMAT,
            "facts": facts.model_dump_json(),
            "preparation": json.dumps(self._preparation, sort_keys=True),
        }
        return json.dumps({"__metadata__": metadata, **self._tensors}).encode()

    def _offset(self, name: str) -> int:
        begin: int = self._tensors[name]["data_offsets"][0]
        return self._start + begin

    def _write(self, data: bytes, at: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, at)
            view, at = view[written:], at + written

    def _read_images(self, split: str) -> Iterator[Images]:
        image_bytes = math.prod(self._image_shape)
        at = self._offset(f"{split}_images")
        end = at + image_bytes * len(self._labels[split])
        step = max(1, CHUNK_BYTES // image_bytes) * image_bytes
        while at < end:
            data = os.pread(self._fd, min(step, end - at), at)
            yield np.frombuffer(data, dtype=np.uint8).reshape(-1, *self._image_shape)
            at += len(data)


def _place(
    labels: Mapping[str, Labels], image_shape: tuple[int, int, int]
) -> tuple[dict[str, dict[str, Any]], int]:
    """The tensors' entries in the header and their total bytes; 8-byte values come first."""
    wanted = [(f"{split}_labels", "I64", (len(labels[split]),), 8) for split in SPLITS]
    images = [(f"{split}_images", "U8", (len(labels[split]), *image_shape), 1) for split in SPLITS]
    tensors: dict[str, dict[str, Any]] = {}
    at = 0
    for name, dtype, shape, width in [*wanted, *images]:
        end = at + width * math.prod(shape)
        tensors[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    return tensors, at
