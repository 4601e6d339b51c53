"""What is known about a source dataset without reading its images."""

from typing import Literal

from pydantic import Field

from dcpi_core.spec.base import Name, Record


class License(Record):
    """Terms of the source images; a coreset contains originals, so they carry over."""

    name: str
    url: str = ""
    redistributable: Literal["yes", "no", "unclear"] = "unclear"


TELLING = ("classes", "train_per_class", "num_test", "channels", "height", "width", "mean", "std")
"""Facts that tell datasets apart, beside name and fingerprint; the others are words about them."""


class DatasetFacts(Record):
    """Facts that budgets, estimates and manifests are computed from.

    ``mean`` and ``std`` are per channel, of images scaled to [0, 1], as used by the literature.
    ``fingerprint`` is the sha256 over all images and labels in canonical order; it is empty for a
    published dataset in the catalogue and always set on a dataset that has been read.
    """

    name: Name
    title: str
    classes: tuple[str, ...] = Field(min_length=2)
    train_per_class: tuple[int, ...]
    num_test: int = Field(ge=1)
    channels: Literal[1, 3]
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    license: License
    homepage: str = ""
    citation: str = ""
    fingerprint: str = ""

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def seen_as(self) -> str:
        """What a network is shown: the images and labels, how normalised, of how many classes."""
        return f"{self.fingerprint} {self.num_classes} {self.mean} {self.std}"

    @property
    def num_train(self) -> int:
        return sum(self.train_per_class)

    @property
    def image_bytes(self) -> int:
        """Bytes of one image as uint8."""
        return self.channels * self.height * self.width

    def differing(self, found: "DatasetFacts") -> list[str]:
        """Fields in which ``found``, the facts of images that were read, are not these.

        A fingerprint says which images are meant, so they may have another name. A catalogue has
        none; then the name must agree.
        """
        identity = "fingerprint" if self.fingerprint else "name"
        return [
            field for field in (identity, *TELLING) if getattr(self, field) != getattr(found, field)
        ]


def padded_size(channels: int, height: int, width: int) -> tuple[int, int]:
    """Size at which every network sees images: gray 28 x 28 become 32 x 32, as published."""
    return (32, 32) if (channels, height, width) == (1, 28, 28) else (height, width)
