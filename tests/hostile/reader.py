"""The child that reads uploads, thousands of times without its half second of imports.

A server imports ``dcpi_core.datasets.archive`` once and forks for each archive. The fork runs the
real ``main`` with its real limits, so a crash, a kill or a full memory meets one archive alone, and
its peak memory is its own. What it opens, moves or starts outside its folder is written down by an
audit hook, which sees every such call of Python.
"""

import gc
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
PATHS = {
    "os.rename": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.mkdir": 1,
    "os.link": 2,
    "os.symlink": 2,
}
"""Events of the audit hook, and how many of their arguments are paths."""
NEVER = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect")


@dataclass(frozen=True)
class Reading:
    """How the reading of one archive ended.

    Attributes:
        status: of the exit; negative where a signal ended it.
        answer: the line of JSON it printed; empty if it died before.
        place: the entry that was being read last.
        strays: what it did outside its folder.
        left: files it left in its folder besides the canonical one.
        peak_mb: resident memory at its highest.
        seconds: on the wall.
    """

    status: int
    answer: dict[str, Any]
    place: str
    strays: list[str]
    left: list[str]
    peak_mb: float
    seconds: float

    @property
    def refusal(self) -> str:
        """The message of a clean refusal; empty for anything else."""
        return self.answer.get("error", {}).get("detail", "") if self.status == 2 else ""

    @property
    def accepted(self) -> bool:
        return self.status == 0 and "facts" in self.answer


class Reader:
    """The server, seen from the outside."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def read(self, archive: Path, folder: Path, *options: str) -> Reading:
        """Inspect an archive; ``folder`` is the only place where anything may be written."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(
            json.dumps([str(archive), str(folder), *options]), file=self._process.stdin, flush=True
        )
        return Reading(**json.loads(self._process.stdout.readline()))


@contextmanager
def open_reader() -> Iterator[Reader]:
    """Start the server; it ends with its standard input."""
    command = [sys.executable, "-m", "tests.hostile.reader"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        yield Reader(process)


def serve() -> None:
    """Fork for every request on standard input, and answer on standard output."""
    from PIL import Image

    from dcpi_core.datasets.archive.__main__ import main

    Image.init()  # or every fork would import the decoders anew
    gc.freeze()
    for line in sys.stdin:
        archive, folder, *options = json.loads(line)
        work = Path(folder)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        command = ["inspect", archive, "--name=pets", f"--out={work / 'out'}"]
        command += [f"--place={work / 'place'}", *options]
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            _become(work)
            status = main(command)
            sys.stdout.flush()
            os._exit(status)
        _, status, usage = os.wait4(child, 0)
        found = _found(work, os.waitstatus_to_exitcode(status))
        found |= {"peak_mb": usage.ru_maxrss / 1024, "seconds": time.monotonic() - began}
        print(json.dumps(found), flush=True)


def _become(work: Path) -> None:
    """The child's own files, and from here on an eye on everything else."""
    sys.stdout = (work / "answer").open("w")
    os.dup2(os.open(work / "errors", os.O_CREAT | os.O_WRONLY), 2)
    strays = os.open(work / "strays", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def watch(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = given
            paths = [path] if flags & WRITING and isinstance(path, str | bytes) else []
        else:
            paths = list(given[: PATHS.get(event, 0)])
        found = [Path(os.fsdecode(path)).resolve() for path in paths]
        outside = [str(path) for path in found if not path.is_relative_to(work)]
        if outside or event in NEVER:
            os.write(strays, f"{event} {outside}\n".encode())

    sys.addaudithook(watch)


def _found(work: Path, status: int) -> dict[str, Any]:
    ours = {"answer", "errors", "strays", "place", "out"}
    text = (work / "answer").read_text()
    place = work / "place"
    return {
        "status": status,
        "answer": json.loads(text) if text.endswith("\n") else {},
        "place": place.read_text().rstrip() if place.exists() else "",
        "strays": (work / "strays").read_text().splitlines(),
        "left": sorted(path.name for path in work.iterdir() if path.name not in ours),
    }


if __name__ == "__main__":
    serve()
