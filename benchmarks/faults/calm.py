"""The results of a campaign's jobs without any service and any fault.

``python -m benchmarks.faults.calm SEED`` reads numbers of jobs, one a line, and prints for each
the number and the digest of its result.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.faults import work
from dcpi_core.bundle.checks import DATA_NAME
from dcpi_core.pipeline import Workplace, run
from dcpi_core.spec.report import Report


def digest(bundle: Path) -> str:
    """Of every tensor and of every accuracy; not of times and dates."""
    report = Report.model_validate_json((bundle / "report.json").read_text(encoding="utf-8"))
    measured = [arm.model_dump(mode="json", exclude={"seconds"}) for arm in report.arms]
    content = hashlib.sha256((bundle / DATA_NAME).read_bytes())
    content.update(json.dumps(measured, sort_keys=True).encode())
    return content.hexdigest()


def result(seed: int, number: int) -> str:
    """Digest of what job ``number`` makes, from nothing."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        place = Workplace(folder / "work", folder / "assets")
        return digest(run(work.spec_of(work.request(seed, number)), place, device="cpu"))


class CalmRun:
    """A process that computes results beside the campaign, one job after the other.

    With as many threads as the workers' children have, for the sake of equal bits.
    """

    def __init__(self, seed: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.faults.calm", str(seed)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._found: dict[int, str] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self, number: int) -> None:
        """Have the result of this job computed."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()

    def results(self) -> dict[int, str]:
        """Digests by job number, of all that were asked for; waits for them."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._reader.join()
        if self._process.wait() != 0:
            raise RuntimeError(f"the run without faults ended with {self._process.returncode}")
        return self._found

    def end(self) -> None:
        """Nobody wants the results any more."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            number, found = line.split()
            self._found[int(number)] = found


@contextlib.contextmanager
def calm_run(seed: int) -> Iterator[CalmRun]:
    """A run that ends with the campaign."""
    run_beside = CalmRun(seed)
    try:
        yield run_beside
    finally:
        run_beside.end()


def main(seed: int) -> None:
    """Answer line by line, until the input ends."""
    for line in sys.stdin:
        number = int(line)
        print(number, result(seed, number), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
