"""Where commands get source images from: a published dataset, the user's archive, a test file.

Only reading images needs torch; checking an archive does not.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dcpi_core.cli import screen
from dcpi_core.spec.base import MAX_NAME_LENGTH
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.errors import DatasetUnavailable, InvalidInput

if TYPE_CHECKING:
    from dcpi_core.datasets import ImageDataset, Split


@dataclass(frozen=True)
class Origin:
    """Where the images of a command come from, as its options say."""

    archive: Path | None = None
    image_size: int | None = None
    data_root: Path | None = None
    cache: Path = Path()

    @property
    def assets(self) -> Path:
        """Where jobs keep what later ones can use."""
        return self.cache / "assets"


@dataclass(frozen=True)
class Prepared:
    """An archive that was checked and rewritten as a canonical file."""

    path: Path
    facts: DatasetFacts


def name_of(archive: Path) -> str:
    """What a dataset is called whose archive is all that is known: by the file, without endings.

    Where nothing in that can stand in a name, "images".
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", archive.name.partition(".")[0])
    return plain.lstrip("_-")[:MAX_NAME_LENGTH] or "images"


def prepare(origin: Origin, name: str | None = None, *, quiet: bool = False) -> Prepared | None:
    """The archive of ``origin`` as a canonical file, made once and kept; None if there is none.

    Args:
        origin: the command's options.
        name: the dataset's name; by default that of the archive.
        quiet: show no progress.

    Raises:
        ArchiveError: the archive cannot be used; names the entry.
    """
    if origin.archive is None:
        return None
    from dcpi_core.datasets.archive import inspect_archive

    name = name or name_of(origin.archive)
    path = origin.cache / "archives" / _cache_name(origin.archive, name, origin.image_size)
    if path.exists():
        return Prepared(path, _facts_in(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with screen.PhaseBars(quiet=quiet) as bars:
        facts = inspect_archive(
            origin.archive,
            name,
            path,
            image_size=origin.image_size,
            progress=lambda done, total: bars.show("archive", done, total, name),
        )
    return Prepared(path, facts)


def read_source(origin: Origin, name: str | None) -> "ImageDataset":
    """The images of the archive, which ``name`` then names, or of the published dataset so called.

    Raises:
        UnknownName: no such dataset.
        DatasetUnavailable: it is not on this machine; says how to provide it.
    """
    from dcpi_core.datasets import load, load_prepared

    prepared = prepare(origin, name)
    if prepared is not None:
        return load_prepared(prepared.path)
    if name is None:
        raise InvalidInput("give the name of a dataset or --archive FILE")
    return load(name, origin.data_root)


def read_test(origin: Origin, facts: DatasetFacts, file: Path | None) -> "Split":
    """The test images that belong to a bundle.

    Raises:
        DatasetUnavailable: they are not here, or are those of another dataset.
    """
    split = _read_split(file) if file is not None else _source_test(origin, facts)
    expected = (facts.num_test, facts.channels, facts.height, facts.width)
    if tuple(split.images.shape) != expected:
        raise DatasetUnavailable(
            f"the test images are {list(split.images.shape)}, the bundle's are {list(expected)}"
        )
    return split


def _source_test(origin: Origin, facts: DatasetFacts) -> "Split":
    if origin.archive is None and facts.name not in load_catalog().datasets:
        raise DatasetUnavailable(
            f"{facts.name!r} is no published dataset; give its images with --archive or --test"
        )
    source = read_source(origin, facts.name)
    if facts.fingerprint not in ("", source.facts.fingerprint):
        raise DatasetUnavailable(
            f"the bundle was made from other images than these: fingerprint "
            f"{facts.fingerprint[:12]}, found {source.facts.fingerprint[:12]}"
        )
    return source.test


def _read_split(path: Path) -> "Split":
    from dcpi_core.bundle.standalone import read_pixels
    from dcpi_core.datasets import Split

    try:
        images, labels = read_pixels(path)
        return Split(images, labels.long())
    except MemoryError:
        raise
    # A file that is none makes numpy and safetensors raise almost anything.
    except Exception as error:
        what = str(error) or type(error).__name__
        raise DatasetUnavailable(f"{str(path)!r} holds no test images: {what}") from error


def _cache_name(archive: Path, name: str, image_size: int | None) -> str:
    with archive.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return f"{name}-{image_size or 'own'}-{digest[:16]}.safetensors"


def _facts_in(path: Path) -> DatasetFacts:
    from safetensors import safe_open

    with safe_open(str(path), framework="np") as file:
        metadata = file.metadata() or {}
    return DatasetFacts.model_validate(json.loads(metadata["facts"]))
