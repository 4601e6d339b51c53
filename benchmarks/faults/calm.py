"""The results of a campaign's jobs without any service and any fault.

``python -m benchmarks.faults.calm SEED COUNT`` prints a JSON object: digest by job number.
"""

import hashlib
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.faults import work
from dcpi_core.bundle.checks import DATA_NAME
from dcpi_core.pipeline import Workplace, run
from dcpi_core.spec.report import Report


def digest(bundle: Path) -> str:
    """Of every tensor and of every accuracy; not of times and dates."""
    report = Report.model_validate_json((bundle / "report.json").read_text(encoding="utf-8"))
    measured = [arm.model_dump(mode="json") for arm in report.arms]
    content = hashlib.sha256((bundle / DATA_NAME).read_bytes())
    content.update(json.dumps(measured, sort_keys=True).encode())
    return content.hexdigest()


def result(seed: int, number: int) -> str:
    """Digest of what job ``number`` makes, from nothing."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        place = Workplace(folder / "work", folder / "assets")
        return digest(run(work.spec_of(work.request(seed, number)), place, device="cpu"))


def main(seed: int, count: int) -> None:
    """One job after the other."""
    print(json.dumps({number: result(seed, number) for number in range(count)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
