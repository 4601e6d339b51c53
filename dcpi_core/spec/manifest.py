"""``manifest.json``: everything one needs to know to train on a bundle, without importing torch.

Readers ignore fields they do not know, so that a newer writer may add some, and refuse a major
version they do not know.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dcpi_core.spec.errors import BundleError
from dcpi_core.spec.protocols import Augmentation

FORMAT = "dcpi-condensed/1"
MANIFEST_NAME = "manifest.json"

_FORMAT_PATTERN = re.compile(r"^dcpi-condensed/(\d+)(\.\d+)?$")


class Block(BaseModel):
    """Base of every part: immutable; unknown fields come from a newer minor version."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class SourceLicense(Block):
    """Terms of the source images; a selected image is an original, so they carry over."""

    name: str
    url: str = ""
    redistributable: Literal["yes", "no", "unclear"] = "unclear"


class Source(Block):
    """The dataset that was condensed; only its training split was used."""

    dataset: str
    title: str
    split: Literal["train"] = "train"
    num_train: int
    num_test: int
    fingerprint: str = ""
    license: SourceLicense
    homepage: str = ""
    citation: str = ""


class Task(Block):
    """Classes in label order; label i means ``classes[i]``."""

    type: Literal["image_classification"] = "image_classification"
    num_classes: int
    classes: tuple[str, ...]
    class_order_sha256: str
    label_base: Literal[0] = 0


class TensorInfo(Block):
    """One tensor of ``data.safetensors``; ``dtype`` as torch spells it."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Images(Block):
    """The image tensor; ``learned`` is false if the images are originals of the source.

    With a ``partition`` p above 1, every image is a grid of p x p tiles, and students train on the
    tiles, each enlarged bilinearly to full size: those of an image one after the other, column by
    column. Privileged labels are then those of the tiles.
    """

    tensor: TensorInfo
    layout: Literal["NCHW"] = "NCHW"
    color: Literal["RGB", "gray"]
    space: Literal["normalized"] = "normalized"
    value_range: tuple[float, float]
    per_class: tuple[int, ...]
    learned: bool
    partition: int = Field(1, ge=1)
    source_indices: TensorInfo | None = None


class Normalize(Block):
    """``(pixel / 255 - mean) / std`` per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Preprocess(Block):
    """What a test image must go through; the stored images already have."""

    normalize: Normalize


class Labels(Block):
    """``soft`` names the tensor of soft labels that replace the hard ones in training.

    With ``weights``, (n,) of mean one, the loss of each image is multiplied by its own.
    """

    hard: TensorInfo
    soft: str | None = None
    weights: TensorInfo | None = None


class Privileged(Block):
    """Labels of one privileged type with everything a student's loss needs."""

    type: str
    tensors: tuple[TensorInfo, ...]
    settings: dict[str, Any]
    bytes: int


class Bytes(Block):
    """Stored bytes by part."""

    images: int
    labels: int
    privileged: dict[str, int]
    total: int


class Budget(Block):
    """What the set costs."""

    images_per_class: int
    num_images: int = Field(ge=1)
    effective_fraction: float
    bytes: Bytes


class NetworkRecipe(Block):
    """A student of ``dcpi_core.networks``; ``image_size`` is (height, width)."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    in_channels: int
    num_classes: int
    image_size: tuple[int, int]


class Optimizer(Block):
    """The optimiser and its first learning rate."""

    name: Literal["sgd"] = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4


class Schedule(Block):
    """One step: after the epoch with this index the rate is scaled and the optimiser made anew."""

    after_epoch_index: int
    factor: float = 0.1
    recreate_optimizer: bool = True


class Recipe(Block):
    """How to train on the set: the published DC protocol in full.

    ``passes`` is the number of passes over the data: the published loop runs from epoch 0 to
    ``epochs`` inclusive.
    """

    protocol: str
    network: NetworkRecipe
    initialization: str = "torch default"
    epochs: int
    passes: int
    batch_size: int = 256
    shuffle: bool = True
    optimizer: Optimizer = Optimizer()
    schedule: Schedule
    augmentation: Augmentation = "none"
    precision: str = "float32"
    accuracy_of: Literal["last_epoch"] = "last_epoch"
    seeds: tuple[int, ...]
    reported: tuple[float, ...]


class ComponentInfo(Block):
    """A method or privileged type with its resolved options."""

    name: str
    options: dict[str, Any]


class Method(Block):
    """What made the set."""

    base: ComponentInfo
    privileged: tuple[ComponentInfo, ...]
    network: str
    seed: int


class Versions(Block):
    """What it ran on."""

    dcpi: str
    python: str
    torch: str


class FileEntry(Block):
    """One file of the bundle; ``path`` is relative, with forward slashes."""

    path: str
    role: Literal["training", "report", "preview", "doc", "spec", "code"] | str
    media_type: str
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(Block):
    """The index of a bundle."""

    format: str = FORMAT
    id: str
    name: str
    created_at: str | None = None
    source: Source
    task: Task
    images: Images
    preprocess: Preprocess
    labels: Labels
    privileged: tuple[Privileged, ...] = ()
    budget: Budget
    recipe: Recipe
    method: Method
    versions: Versions
    spec_sha256: str
    files: tuple[FileEntry, ...]

    def file(self, path: str) -> FileEntry:
        """The entry of one file.

        Raises:
            BundleError: the manifest does not list it.
        """
        for entry in self.files:
            if entry.path == path:
                return entry
        raise BundleError(f"{MANIFEST_NAME} lists no file {path!r}")

    def to_json(self) -> str:
        """The text of ``manifest.json``; the same manifest gives the same bytes."""
        data = self.model_dump(mode="json")
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def parse_manifest(text: str | bytes) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        BundleError: not JSON, of an unknown major version, or with a field that is missing or
            has the wrong type.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{MANIFEST_NAME} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise BundleError(f"{MANIFEST_NAME} is not a JSON object")
    _check_version(data.get("format"))
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "/".join(str(part) for part in first["loc"])
        raise BundleError(f"{MANIFEST_NAME}: {where}: {first['msg']}") from None


def class_order_digest(classes: Sequence[str]) -> str:
    """sha256 that changes when a class is renamed or moved."""
    text = json.dumps(list(classes), ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def plain_path(path: str) -> str:
    """Return ``path`` if it is relative and stays below where it is put.

    Raises:
        BundleError: it is absolute, climbs with ``..``, or uses a backslash, colon or NUL.
    """
    parsed = PurePosixPath(path)
    plain = bool(parsed.parts) and str(parsed) == path and not parsed.is_absolute()
    if not plain or ".." in parsed.parts or any(c in path for c in "\\:\0"):
        raise BundleError(f"{path!r} is not a plain relative path")
    return path


def _check_version(declared: object) -> None:
    found = _FORMAT_PATTERN.match(declared) if isinstance(declared, str) else None
    known = FORMAT.partition("/")[2]
    if found is None or found[1] != known:
        raise BundleError(
            f"{MANIFEST_NAME} has format {declared!r}; this version reads {FORMAT!r}"
            " (a newer bundle needs a newer dcpi)"
        )
