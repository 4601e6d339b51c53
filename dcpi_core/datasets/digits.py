"""scikit-learn's digits: 1,797 grey 8 x 8 images that need no download."""

from pathlib import Path

import numpy as np
import torch

from dcpi_core.datasets.base import ImageDataset, Split
from dcpi_core.registry import DATASETS
from dcpi_core.spec.dataset import DatasetFacts, License

TEST_EVERY = 5
"""In each class, in the published order, images 5, 10, 15, ... are the test set."""

FACTS = DatasetFacts(
    name="digits",
    title="Optical recognition of handwritten digits, 8 x 8 (scikit-learn)",
    classes=tuple("0123456789"),
    train_per_class=(143, 146, 142, 147, 145, 146, 145, 144, 140, 144),
    num_test=355,
    channels=1,
    height=8,
    width=8,
    # Measured on the training images; tests/core/datasets/test_digits.py measures them again.
    mean=(0.305183,),
    std=(0.375994,),
    license=License(
        name="CC BY 4.0",
        url="https://creativecommons.org/licenses/by/4.0/",
        redistributable="yes",
    ),
    homepage="https://archive.ics.uci.edu/dataset/80",
    citation=(
        "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. "
        "UCI Machine Learning Repository, 1998"
    ),
)


@DATASETS.register(
    "digits",
    source="Alpaydin and Kaynak, UCI Machine Learning Repository, 1998",
    facts=FACTS.model_dump(mode="json", exclude={"fingerprint"}),
)
def load_digits(root: Path | None = None) -> ImageDataset:  # noqa: ARG001  ships with scikit-learn
    """Handwritten digits, 8 x 8 grey, 1,442 to train and 355 to test; needs no download."""
    from sklearn import datasets  # noqa: PLC0415  takes a second; needed only here

    published = datasets.load_digits()
    labels = torch.from_numpy(published.target.astype(np.int64))
    images = torch.from_numpy(_to_bytes(published.images)).unsqueeze(1)
    held_out = _held_out(labels)
    return ImageDataset(
        FACTS,
        train=Split(images[~held_out].contiguous(), labels[~held_out]),
        test=Split(images[held_out].contiguous(), labels[held_out]),
    )


def _to_bytes(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> np.ndarray:
    """Grey values 0..16 scaled to 0..255, halves rounded up."""
    return ((values.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)


def _held_out(labels: torch.Tensor) -> torch.Tensor:
    mask = torch.zeros_like(labels, dtype=torch.bool)
    for label in range(FACTS.num_classes):
        members = torch.nonzero(labels == label).squeeze(1)
        mask[members[TEST_EVERY - 1 :: TEST_EVERY]] = True
    return mask
