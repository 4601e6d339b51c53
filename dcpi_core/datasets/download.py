"""Files of published datasets: found, or downloaded, or asked for in a message that helps."""

import hashlib
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from dcpi_core.spec.errors import DatasetUnavailable

PROBE_SECONDS = 4.0
READ_SECONDS = 30.0
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """One published file: where it is put below the data root, and where it comes from."""

    path: str
    url: str
    md5: str

    def is_in(self, root: Path) -> bool:
        """Whether the file is there, complete and unchanged."""
        path = root / self.path
        return path.is_file() and _md5(path) == self.md5


def default_root() -> Path:
    """Where datasets are kept when nobody says otherwise."""
    return Path.home() / ".cache" / "dcpi" / "datasets"


def fetch(name: str, files: Sequence[RemoteFile], root: Path) -> None:
    """Download those of the dataset's ``files`` that ``root`` lacks.

    Raises:
        DatasetUnavailable: within seconds when there is no network.
    """
    missing = [file for file in files if not file.is_in(root)]
    for file in missing:
        try:
            _check_reachable(file.url)
            _download(file, root / file.path)
        except urllib.error.URLError as error:
            raise unavailable(name, missing, root, f"downloading failed: {error.reason}") from None
        except (OSError, HTTPException, ValueError) as error:
            raise unavailable(name, missing, root, f"downloading failed: {error}") from None


def unavailable(
    name: str, files: Sequence[RemoteFile], root: Path, reason: str
) -> DatasetUnavailable:
    """The error that says which files to put where."""
    wanted = "; ".join(f"{root / file.path} (md5 {file.md5}) from {file.url}" for file in files)
    return DatasetUnavailable(
        f"dataset {name!r} is not on this machine and {reason}. Either give the machine a network "
        f"connection, or put these files in place: {wanted}. The folder {root} is the setting "
        "DCPI_DATA_ROOT of the service, and the argument root of dcpi_core.datasets.load"
    )


def _check_reachable(url: str) -> None:
    """Ask for the headers only. In a thread, because a name server may keep us waiting."""
    failures: list[BaseException] = []
    probe = threading.Thread(target=_probe, args=(url, failures), daemon=True)
    probe.start()
    probe.join(PROBE_SECONDS)
    if probe.is_alive():
        raise TimeoutError(f"no answer within {PROBE_SECONDS:.0f} s")
    if failures:
        raise failures[0]


def _probe(url: str, failures: list[BaseException]) -> None:
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310  our own constants
    try:
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):  # noqa: S310
            pass
    except urllib.error.HTTPError as error:
        error.close()  # an answer of any kind shows that there is a network
    except (OSError, HTTPException, ValueError) as error:
        failures.append(error)


def _download(file: RemoteFile, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as target:
        temporary = Path(target.name)
        try:
            with urllib.request.urlopen(file.url, timeout=READ_SECONDS) as source:  # noqa: S310
                while block := source.read(BLOCK_BYTES):
                    target.write(block)
            target.flush()
            if _md5(temporary) != file.md5:
                raise OSError(f"{file.url} is not the published file, its md5 differs")
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise


def _md5(path: Path) -> str:
    # The publishers state MD5 sums; they guard against damage, not against forgery.
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
