"""What privileged information is worth on real CIFAR-10, through the service as a user meets it.

Uploads an archive of CIFAR-10, submits jobs over REST, waits, downloads the bundles and writes
every report into one JSON file:

- ``dc``, 1 image per class, 200 iterations, feature labels; begun from noise, as published, and
  from real images, which carry labels better, assigned ones and learned ones
- ten random images per class with soft labels, with feature labels, and with both; students are
  trained with random flips and shifts

    dcpi serve                                                            # in one terminal
    python -m benchmarks.cifar10 --archive cifar10.tar.xz --out benchmarks/results/cifar10.json

About an hour on two CPU cores. Jobs that finished are found again by their request, so an
interrupted run goes on where it stopped; ``--only`` leaves the reports of the others as they are.
"""

import argparse
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from dcpi_core import bundle
from dcpi_core.client import Client
from dcpi_core.compute import Runtime
from dcpi_core.spec.errors import Conflict
from dcpi_core.spec.job import JobRequest

DATASET = "cifar10-jpeg"
CORESET: dict[str, Any] = {
    "images_per_class": 10,
    "base_method": "random",
    "options": {"evaluation": {"repeats": 2, "protocol": "dc_flip_shift"}},
}


def from_real_images(preset: str, *controls: str) -> dict[str, Any]:
    """``dc`` begun from one real image per class, with feature labels of this preset."""
    return {
        "images_per_class": 1,
        "base_method": "dc",
        "pi_type": "feature",
        "options": {
            "base": {"iterations": 200, "init": "real"},
            "pi": {"feature": {"preset": preset}},
            "evaluation": {"repeats": 5, "controls": list(controls)},
        },
    }


JOBS: dict[str, dict[str, Any]] = {
    "dc, 1 per class, feature": {
        "images_per_class": 1,
        "base_method": "dc",
        "pi_type": "feature",
        "options": {"base": {"iterations": 200}, "evaluation": {"repeats": 5}},
    },
    "dc from real images, 1 per class, feature (preset measured)": from_real_images(
        "measured", "equal_bytes", "permuted"
    ),
    "dc from real images, 1 per class, feature (preset unrolled)": from_real_images(
        "unrolled", "permuted", "noise"
    ),
    "random, 10 per class, soft + feature": CORESET | {"pi_type": ["soft", "feature"]},
    "random, 10 per class, feature": CORESET | {"pi_type": "feature"},
    "random, 10 per class, soft": CORESET | {"pi_type": "soft"},
}


def upload(client: Client, archive: Path) -> None:
    """Upload the archive unless the service has it already."""
    try:
        client.datasets.upload(archive, name=DATASET)
    except Conflict:
        print(f"{DATASET} is there already")


def report_of(client: Client, title: str, request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Submit one job or find it again, wait for it, and check and read its bundle."""
    body = JobRequest.model_validate({"dataset": DATASET, "name": title} | request)
    # The key makes the service return the job of an earlier, interrupted run.
    key = hashlib.sha256(body.model_dump_json().encode()).hexdigest()
    job = client.jobs.create(body, idempotency_key=key)
    print(f"{title}: {job.id}")
    done = client.jobs.wait(job.id)
    if done.result is None:
        raise SystemExit(f"{title}: {done.status}: {done.error}")
    target = folder / job.id
    client.condensed.download(done.result.condensed_id, target)
    found = bundle.load(target)
    for arm in found.report.arms:
        print(f"  {arm.title:45} {100 * arm.mean:5.2f} +- {100 * arm.std:.2f} (n={arm.n})")
    return {
        "request": body.model_dump(mode="json"),
        "report": found.report.model_dump(mode="json"),
        "environment": describe(Runtime.choose("cpu")),
    }


def main() -> None:
    """Run the jobs one after the other and save their reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--bundles", type=Path, default=Path("var/benchmark"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cifar10.json"))
    parser.add_argument("--only", default="", help="regular expression on a job's title")
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"jobs": {}}
    if given.out.exists():
        results = json.loads(given.out.read_text())
    with Client(given.url) as client:
        upload(client, given.archive)
        for title, request in JOBS.items():
            if not re.search(given.only, title):
                continue
            results["jobs"][title] = report_of(client, title, request, given.bundles)
            given.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
