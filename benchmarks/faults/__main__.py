"""Faults by the hundred on a running service, and what must hold afterwards.

    python -m benchmarks.faults --seed 0 --jobs 50 --faults 200 --out benchmarks/results/faults.json

Starts PostgreSQL, Valkey, S3, the API and two workers in a temporary folder on free ports; submits
jobs; kills, stops, slows and confuses all of these by the schedule of the seed; then checks the
invariants of ``benchmarks.faults.invariants``. Ends with status 1 if one of them is violated, or if
the service did not recover from some fault. Beside the JSON lies the same as a ``.log``.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.faults.calm import calm_run
from benchmarks.faults.campaign import Campaign, Happened, as_json
from benchmarks.faults.invariants import violations
from benchmarks.faults.kinds import KINDS
from benchmarks.faults.schedule import draw
from benchmarks.faults.stack import SETTINGS, running
from benchmarks.machine import describe
from dcpi_core.compute import Runtime


class Log:
    """Lines on standard output and, the same, in a file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")

    def __call__(self, line: str) -> None:
        print(line, flush=True)
        self._file.write(line + "\n")
        self._file.flush()


def summary(happened: list[Happened]) -> dict[str, dict[str, float | int | None]]:
    """Of each kind: how many struck, and median and longest seconds until it was recovered from."""
    found: dict[str, dict[str, float | int | None]] = {}
    for kind in KINDS:
        struck = [one for one in happened if one.kind == kind and one.struck]
        after = [one.after for one in struck if one.after is not None]
        found[kind] = {
            "struck": len(struck),
            "recovered": len(after),
            "median_seconds": round(median(after), 2) if after else None,
            "longest_seconds": max(after, default=None),
        }
    return found


def main() -> int:
    """Run one campaign; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=50, help="at least so many")
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/faults.json"))
    parser.add_argument("--keep", type=Path, help="folder for logs and data; default: deleted")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    tell = Log(given.out.with_suffix(".log"))
    with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
        folder = given.keep or Path(temporary)
        folder.chmod(0o755)  # PostgreSQL runs as a user of its own where we are root
        with running(folder, given.workers) as stack, calm_run(given.seed) as calm:
            campaign = Campaign(stack, calm, given.seed, given.jobs, tell)
            began = time.monotonic()
            campaign.run(draw(list(KINDS), given.seed, given.faults))
            seconds = round(time.monotonic() - began, 1)
            tell("waiting for the same jobs without faults")
            found = violations(campaign.evidence(folder / "bundles", calm.results()))
    struck = [one for one in campaign.happened if one.struck]
    unrecovered = [str(one) for one in struck if one.after is None]
    held = not unrecovered and not any(found.values())
    result: dict[str, Any] = {
        "seed": given.seed,
        "verdict": "held" if held else "violated",
        "jobs": len(campaign.accepted),
        "faults": {"scheduled": given.faults, "struck": len(struck)},
        "seconds": seconds,
        "violations": found | {"recovery": unrecovered},
        "kinds": summary(campaign.happened),
        "log": as_json(campaign.happened),
        "settings": SETTINGS | {"workers": given.workers},
        "environment": describe(Runtime.choose("cpu", threads=1)),
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, lines in result["violations"].items():
        tell(f"{name}: {'held' if not lines else f'{len(lines)} violations'}")
        for line in lines:
            tell(f"  {line}")
    tell(f"{len(struck)} faults struck {result['jobs']} jobs in {seconds:g} s: {result['verdict']}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
