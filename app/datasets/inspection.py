"""Reading an upload in a child process: the archive and its images never meet the API itself."""

import json
import logging
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.settings import Settings
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.errors import ArchiveError, DcpiError, FieldProblem, InvalidInput

logger = logging.getLogger(__name__)

OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that come from whoever runs the service. Any other is what the archive did to its reader:
a decoder that crashed, or too much time or memory at a moment when only the kernel could say so."""


@dataclass(frozen=True)
class UploadOptions:
    """What a user may say about an upload."""

    name: str
    seed: int
    image_size: int | None


def inspect(archive: Path, out: Path, options: UploadOptions, seconds: int) -> DatasetFacts:
    """Check an archive and write its canonical file.

    Raises:
        InvalidInput: what is wrong with the archive, naming the entry.
        DcpiError: the inspection itself broke.
    """
    # The environment without our passwords: the child decodes what strangers send.
    command = ["env", *(f"-u{name}" for name in Settings.variables())]
    command += [sys.executable, "-m", "dcpi_core.datasets.archive", "inspect", str(archive)]
    command += [f"--name={options.name}", f"--out={out}", f"--seed={options.seed}"]
    place = out.with_name("place")
    command += [f"--max-seconds={seconds}", f"--place={place}"]
    if options.image_size is not None:
        command.append(f"--image-size={options.image_size}")
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + 30, check=False
        )
    except subprocess.TimeoutExpired:
        message = f"reading the archive took over {seconds} s, {_last(place)}"
        raise ArchiveError.at("/file", message) from None
    answer = _answer(done.stdout)
    if "facts" in answer:
        return DatasetFacts.model_validate(answer["facts"])
    if done.returncode < 0 and -done.returncode not in OURS:
        raise _killed(done, place)
    raise _error(answer.get("error", {}), done)


def _killed(done: subprocess.CompletedProcess[str], place: Path) -> InvalidInput:
    name = signal.Signals(-done.returncode).name
    # A crash of a decoder is worth an operator's eye, if only to update it.
    logger.warning("inspection was ended by %s %s: %s", name, _last(place), done.stderr[-4000:])
    return ArchiveError.at("/file", f"reading the archive was ended by {name}, {_last(place)}")


def _last(place: Path) -> str:
    """Which entry was being read, as the child has noted it."""
    return place.read_text(encoding="utf-8").rstrip() if place.exists() else "at its start"


def _answer(output: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return {}
    return found


def _error(error: dict[str, Any], done: subprocess.CompletedProcess[str]) -> DcpiError:
    if done.returncode != 2 or "detail" not in error:
        logger.error("inspection ended with status %s: %s", done.returncode, done.stderr[-4000:])
        return DcpiError("the archive could not be inspected; the error has been logged")
    problems = [FieldProblem(**problem) for problem in error.get("problems", ())]
    kind = ArchiveError if error.get("code") == ArchiveError.code else InvalidInput
    return kind(error["detail"], problems)
