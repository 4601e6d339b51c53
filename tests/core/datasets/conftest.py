"""Small datasets and real archives of them, made afresh for every test."""

import io
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dcpi_core.datasets.archive import inspect_archive
from dcpi_core.spec.dataset import DatasetFacts, License
from dcpi_core.spec.errors import ArchiveError

TAR_MODES = {"tar": "w", "tar.gz": "w:gz", "tar.xz": "w:xz", "tar.bz2": "w:bz2"}


def encode(pixels, kind="PNG", **settings) -> bytes:
    """An image file of uint8 pixels (H, W) or (H, W, C), or of a PIL image."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def random_pixels(seed, height=8, width=8, channels=3):
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def class_folders(splits=("train/", "test/"), classes=("cat", "dog"), count=3, **shape):
    """Name -> PNG; every image differs from every other."""
    names = [f"{s}{c}/{i}.png" for s in splits for c in classes for i in range(count)]
    return {name: encode(random_pixels(seed, **shape)) for seed, name in enumerate(names)}


def tar_entry(name, data=b"", **fields):
    """A tar header with any of its fields set, and its data."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def write_tar(path, entries, mode="w"):
    """``entries``: (TarInfo or name, data)."""
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as archive:
        for name, data in entries:
            info, _ = (name, data) if isinstance(name, tarfile.TarInfo) else tar_entry(name, data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_zip(path, entries, compression=zipfile.ZIP_DEFLATED):
    """``entries``: (ZipInfo or name, data)."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def write_archive(path: Path, kind, files) -> Path:
    """An archive of the given kind from name -> data, or from pairs."""
    entries = list(files.items()) if isinstance(files, dict) else list(files)
    if kind == "zip":
        return write_zip(path, entries)
    return write_tar(path, entries, TAR_MODES[kind])


@pytest.fixture
def make():
    """The functions above."""
    return SimpleNamespace(
        encode=encode,
        pixels=random_pixels,
        folders=class_folders,
        tar_entry=tar_entry,
        tar=write_tar,
        zip=write_zip,
        archive=write_archive,
    )


@pytest.fixture
def inspect(tmp_path):
    """Pack files into an archive and inspect it; the canonical file is ``tmp_path / "out"``."""

    def run(files, kind="zip", **settings):
        path = files
        if not isinstance(files, Path):
            path = write_archive(tmp_path / "upload", kind, files)
        return inspect_archive(path, "pets", tmp_path / "out", **settings)

    return run


@pytest.fixture
def refused(inspect, tmp_path):
    """Inspect what must be refused; returns the error's detail."""

    def run(files, kind="zip", **settings):
        with pytest.raises(ArchiveError) as caught:
            inspect(files, kind, **settings)
        assert {problem.pointer for problem in caught.value.problems} == {"/file"}
        assert not (tmp_path / "out").exists()
        assert not list(tmp_path.glob("out*")), "a temporary file is left"
        return caught.value.detail

    return run


@pytest.fixture
def facts():
    """Facts of a two-class dataset of 2 x 3 colour images."""
    return DatasetFacts(
        name="toy",
        title="Toy",
        classes=("a", "b"),
        train_per_class=(2, 1),
        num_test=2,
        channels=3,
        height=2,
        width=3,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.25, 0.3),
        license=License(name="CC0", redistributable="yes"),
    )
