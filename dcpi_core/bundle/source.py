"""Reading the files of a bundle from a directory or a zip, with every size known beforehand."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from dcpi_core.spec.errors import BundleError
from dcpi_core.spec.manifest import MANIFEST_NAME, plain_path

MAX_INDEX_BYTES = 64 * 2**20
"""Cap for files whose size no manifest declares: the manifest itself and SHA256SUMS."""


class Source(Protocol):
    """Files by relative name."""

    def read(self, name: str, limit: int = MAX_INDEX_BYTES) -> bytes:
        """The content of one file; raises BundleError if it is absent or larger than ``limit``."""
        ...


class DirectorySource:
    """A bundle laid out as files."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, name: str, limit: int = MAX_INDEX_BYTES) -> bytes:
        path = self._root / plain_path(name)
        if not path.is_file():
            raise BundleError(f"{name} is missing")
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise BundleError(f"{name} leads out of the bundle")
        _check_size(name, path.stat().st_size, limit)
        return path.read_bytes()


class ZipSource:
    """A bundle as a zip, with its files at the top or in one folder."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._prefix = _prefix(archive)

    def read(self, name: str, limit: int = MAX_INDEX_BYTES) -> bytes:
        try:
            info = self._archive.getinfo(self._prefix + plain_path(name))
        except KeyError:
            raise BundleError(f"{name} is missing") from None
        # The declared size bounds the read: zipfile stops there, whatever the member expands to.
        _check_size(name, info.file_size, limit)
        try:
            return self._archive.read(info)
        except MemoryError:
            raise
        # Damage makes zipfile and its decompressors raise errors of half a dozen kinds. Only they
        # run in this block.
        except Exception as error:
            what = str(error) or type(error).__name__
            raise BundleError(f"{name} cannot be read from the zip: {what}") from error


@contextmanager
def open_source(path: str | Path) -> Iterator[Source]:
    """Open a bundle directory or zip.

    Raises:
        BundleError: there is nothing at ``path``, or it is neither.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        yield DirectorySource(path)
        return
    if not path.exists():
        raise BundleError(f"no bundle at {str(path)!r}")
    try:
        archive = zipfile.ZipFile(path)
    except MemoryError:
        raise
    except Exception as error:  # as above: a name that is no UTF-8 is a ValueError
        raise BundleError(f"{str(path)!r} is neither a bundle directory nor a zip") from error
    with archive:
        yield ZipSource(archive)


def _prefix(archive: zipfile.ZipFile) -> str:
    found = [n for n in archive.namelist() if n.rpartition("/")[2] == MANIFEST_NAME]
    shallow = sorted(found, key=lambda n: n.count("/"))
    if not shallow or shallow[0].count("/") > 1:
        raise BundleError(f"{MANIFEST_NAME} is missing")
    return shallow[0].removesuffix(MANIFEST_NAME)


def _check_size(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise BundleError(f"{name} has {size} bytes, expected at most {limit}")
