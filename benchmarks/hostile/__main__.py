"""Ten thousand damaged archives, the full-sized bombs, and uploads of both to a running API.

Every archive is read by the child process of the service, with its limits. One that is neither
refused in words nor sound, or that touches a file outside its folder, is a finding; the command
fails if there is any. The same seed gives the same archives.

    python -m benchmarks.hostile --archives 10000 --seed 0 --out benchmarks/results/hostile.json
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.hostile.fuzzing import full_size, fuzz
from benchmarks.hostile.uploading import upload_all
from benchmarks.machine import describe
from dcpi_core.compute import Runtime

MOST_GROWTH_MB = 50


def main() -> int:
    """Measure, print and optionally save; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archives", type=int, default=10_000)
    parser.add_argument("--uploads", type=int, default=200, help="of them, through the API as well")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the result as JSON")
    given = parser.parse_args()
    result = {
        "benchmark": "hostile uploads",
        "environment": describe(Runtime.choose("cpu")),
        "seed": given.seed,
        "api": upload_all(given.uploads, given.seed),
        "full_size": full_size(),
        "fuzzing": fuzz(given.archives, given.seed),
    }
    print(json.dumps(result, indent=1))
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n")
    api = result["api"]
    sound = not result["fuzzing"]["findings"] and not api["unexpected"]
    return 0 if sound and api["api_mb_growth"] < MOST_GROWTH_MB else 1


if __name__ == "__main__":
    sys.exit(main())
