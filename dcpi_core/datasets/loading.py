"""Datasets by name, and prepared uploads by path."""

import json
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from dcpi_core.datasets.base import ImageDataset, Split
from dcpi_core.datasets.canonical import FORMAT, SPLITS
from dcpi_core.registry import DATASETS
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.errors import DatasetUnavailable


def load(name: str, root: str | Path | None = None) -> ImageDataset:
    """Read the published dataset ``name``.

    Args:
        name: as in the catalogue, e.g. ``"cifar10"``.
        root: folder that holds, or will receive, the downloaded files; by default
            ``download.default_root()``.

    Raises:
        UnknownName: no such dataset; the message lists those that exist.
        DatasetUnavailable: its files are absent and cannot be downloaded; the message says which
            files to put where.
    """
    dataset = DATASETS.get(name).target(None if root is None else Path(root))
    assert isinstance(dataset, ImageDataset)
    return dataset


def load_prepared(path: str | Path) -> ImageDataset:
    """Read a file written by ``inspect_archive``; its fingerprint is checked.

    Raises:
        DatasetUnavailable: no such file, not such a file, or its contents have changed.
    """
    try:
        facts, train, test = _read(path)
        # Without the recorded fingerprint: a damaged file is told from what is no such file.
        dataset = ImageDataset(facts.model_copy(update={"fingerprint": ""}), train, test)
    except FileNotFoundError:
        raise _unusable(path, "does not exist") from None
    except (SafetensorError, OSError, KeyError, ValueError, ValidationError) as error:
        raise _unusable(path, f"is not a prepared dataset ({error})") from error
    if dataset.facts.fingerprint != facts.fingerprint:
        raise _unusable(path, "is damaged: its images do not have the recorded fingerprint")
    return dataset


def _read(path: str | Path) -> tuple[DatasetFacts, Split, Split]:
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ValueError(f"its format is {metadata.get('format')!r}, not {FORMAT!r}")
        facts = DatasetFacts.model_validate(json.loads(metadata["facts"]))
        train, test = (
            Split(file.get_tensor(f"{split}_images"), file.get_tensor(f"{split}_labels"))
            for split in SPLITS
        )
    return facts, train, test


def _unusable(path: str | Path, problem: str) -> DatasetUnavailable:
    return DatasetUnavailable(f"{path} {problem}; import the archive again to rebuild it")
