"""Ten thousand damaged archives, the full-sized bombs, and uploads of both to a running API.

Every archive is read by the child process of the service, with its limits. One that is neither
refused in words nor sound, or that touches a file outside its folder, is a finding; the command
fails if there is any. The same seed gives the same archives.

    python -m benchmarks.hostile --archives 10000 --seed 0 --out benchmarks/results/hostile.json
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.hostile.fuzzing import full_size, fuzz
from benchmarks.hostile.uploading import upload_all
from benchmarks.machine import describe
from dcpi_core.compute import Runtime
from tests.hostile.outcome import FINDING

PARTS = ("fuzzing", "full_size", "api")
MOST_GROWTH_MB = 50


def main() -> int:
    """Measure, print and optionally save; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archives", type=int, default=10_000)
    parser.add_argument("--uploads", type=int, default=200, help="of them, through the API as well")
    parser.add_argument("--children", type=int, default=2, help="archives read at a time")
    parser.add_argument("--minutes", type=float, default=math.inf, help="the fuzzing stops then")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", choices=PARTS, action="append", help="keep the other parts of OUT"
    )
    parser.add_argument("--out", type=Path, help="write the result as JSON")
    given = parser.parse_args()
    measure: dict[str, Callable[[], dict[str, Any]]] = {
        "fuzzing": lambda: fuzz(given.archives, given.seed, given.children, given.minutes),
        "full_size": full_size,
        "api": lambda: upload_all(given.uploads, given.seed),
    }
    result: dict[str, Any] = {}
    if given.only and given.out and given.out.exists():
        result = json.loads(given.out.read_text())
    environment = describe(Runtime.choose("cpu"))
    for part in given.only or PARTS:
        result[part] = {"environment": environment, "seed": given.seed, **measure[part]()}
        print(json.dumps(result[part], indent=1), flush=True)
        if given.out:
            given.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if all(_passes(part, found) for part, found in result.items()) else 1


def _passes(part: str, found: dict[str, Any]) -> bool:
    if part == "fuzzing":
        return not found["findings"]
    if part == "full_size":
        return all(case["outcome"] != FINDING for case in found["cases"].values())
    return not found["unexpected"] and found["api_mb_growth"] < MOST_GROWTH_MB


if __name__ == "__main__":
    sys.exit(main())
