"""What the service bears on this machine, as one JSON file.

python -m benchmarks.load --out benchmarks/results/load.json
python -m benchmarks.load submissions --seconds 5      # a trial of one part
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks.load.downloads import downloads
from benchmarks.load.service import Service, running
from benchmarks.load.streams import streams
from benchmarks.load.submissions import submissions

PACKAGES = ("dcpi", "fastapi", "starlette", "uvicorn", "uvloop", "sqlalchemy", "psycopg", "obstore")


def main() -> None:
    """Measure the parts that are named, or all, and write what was found."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and end what was started
    wanted = options.parts or list(PARTS)
    with (
        tempfile.TemporaryDirectory(prefix="dcpi-load-") as folder,
        running(Path(folder), options.processes) as service,
    ):
        found = {"environment": environment(service), "seed": options.seed}
        for part in wanted:
            found[part] = asyncio.run(PARTS[part](service, options))
            sys.stdout.write(f"{part}: {json.dumps(found[part], indent=1)}\n")
            if options.out is not None:
                options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def environment(service: Service) -> dict[str, Any]:
    """Machine, versions and commit, and how busy the machine was with other things."""
    with service.engine.connect() as connection:
        postgres = connection.execute(text("SHOW server_version")).scalar_one()
    commit = ["git", "describe", "--always", "--dirty"]
    said = subprocess.run(
        commit, capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average_before": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "postgresql": postgres,
        "api_processes": service.processes,
        "versions": {name: version(name) for name in PACKAGES},
        "commit": said.stdout.strip(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


PARTS: dict[str, Callable[[Service, argparse.Namespace], Any]] = {
    "submissions": lambda service, o: submissions(service, o.rate, o.seconds, o.seed),
    "streams": lambda service, o: streams(service, o.streams, o.rounds),
    "downloads": lambda service, o: downloads(service, o.megabytes, o.transfers, o.seed),
}


def _parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    words.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    words.add_argument("--out", type=Path, help="JSON file for the result")
    words.add_argument("--processes", type=int, default=2, help="of the API")
    words.add_argument("--rate", type=float, default=200.0, help="submissions per second")
    words.add_argument("--seconds", type=float, default=60.0, help="of submissions")
    words.add_argument("--streams", type=int, default=500, help="that are open at once")
    words.add_argument("--rounds", type=int, default=20, help="events of each job, one a second")
    words.add_argument("--megabytes", type=int, default=256, help="size of the downloaded file")
    words.add_argument("--transfers", type=int, default=5, help="of it from each server, in turns")
    words.add_argument("--seed", type=int, default=0)
    return words


if __name__ == "__main__":
    main()
