"""Every selection rule at the budgets of the paper's Table 1, on CIFAR-10, through the pipeline.

    python -m benchmarks.coreset_accuracy --archive cifar10.tar.xz

The archive is decoded once and the proxy trained once; both are kept under ``--work``, and so is
every job with its checkpoint. A run that was interrupted goes on where it stopped, and one that is
repeated with more methods or budgets computes only those. Every job also measures random images,
with the same seeds, for the paired difference in its report. ``--out`` is written after every job,
and the table, with the paper's numbers beside ours, is printed at the end.
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from dcpi_core import bundle, pipeline
from dcpi_core.compute import Runtime
from dcpi_core.datasets import inspect_archive, load_prepared
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.job import JobRequest, JobSpec
from dcpi_core.spec.resolve import resolve

IMAGES_PER_CLASS = (1, 5, 10, 20, 50)
"""0.02, 0.1, 0.2, 0.4 and 1 % of CIFAR-10."""

PAPER: dict[str, tuple[float, ...]] = {
    "random": (13.5, 20.0, 27.1, 35.8, 43.0),
    "least_confidence": (10.7, 10.5, 10.8, 17.9, 23.1),
    "entropy": (12.2, 14.1, 14.8, 19.6, 23.8),
    "margin": (8.9, 15.8, 20.3, 24.8, 31.3),
    "glister": (11.5, 16.9, 23.0, 28.4, 30.0),
    "craig": (18.1, 19.5, 19.0, 27.8, 30.2),
    "herding": (15.3, 23.5, 25.1, 26.7, 34.9),
    "k_center": (16.4, 22.4, 23.1, 30.4, 36.7),
    "forgetting": (15.3, 19.1, 23.9, 26.9, 39.5),
}
"""Test accuracy in per cent at these budgets; the paper's Table 1."""

METHODS = (*PAPER, "el2n", "grand", "gradmatch", "facility_location", "graph_cut")


def dataset(archive: Path, work: Path) -> Path:
    """The archive's images in canonical form, decoded once."""
    path = work / "cifar10-jpeg.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        inspect_archive(archive, "cifar10-jpeg", path)
    return path


def specs(facts: DatasetFacts, given: argparse.Namespace) -> dict[str, JobSpec]:
    """The jobs by title, small budgets first, so that whole rows of the table come early."""
    options = {"base": {}, "evaluation": {"repeats": given.repeats, "epochs": given.epochs}}
    found = {}
    for count in given.images_per_class:
        for method in given.methods:
            request = JobRequest.model_validate(
                {
                    "dataset": facts.name,
                    "images_per_class": count,
                    "base_method": method,
                    "pi_type": "none",
                    "options": options,
                }
            )
            found[f"{method}, {count} per class"] = resolve(request, facts)
    return found


def report_of(spec: JobSpec, source: Path, work: Path) -> dict[str, Any]:
    """Run one job, or read its bundle if it is there."""
    name = hashlib.sha256(spec.digest().encode()).hexdigest()[:16]
    place = pipeline.Workplace(work / "jobs" / name, work / "assets", dataset_file=source)
    directory = place.workspace / "bundle"
    if not (directory / "report.json").exists():
        directory = pipeline.run(spec, place)
    return bundle.load(directory).report.model_dump(mode="json")


def row(method: str, results: dict[str, Any], counts: list[int]) -> str:
    """One method's accuracies as a line of Markdown: ours, and the paper's in brackets."""
    cells = []
    for position, count in enumerate(IMAGES_PER_CLASS):
        report = results["reports"].get(f"{method}, {count} per class")
        if count not in counts or report is None:
            cells.append("-")
            continue
        arm = next(arm for arm in report["arms"] if arm["name"] == "base")
        runs = [100 * run for run in arm["runs"]]
        mean = sum(runs) / len(runs)
        spread = (sum((run - mean) ** 2 for run in runs) / max(1, len(runs) - 1)) ** 0.5
        paper = f" ({PAPER[method][position]})" if method in PAPER else ""
        cells.append(f"{mean:.1f} ± {spread:.1f}{paper}")
    return "| " + " | ".join([method, *cells]) + " |"


def main() -> None:
    """Run what is missing, save after every job, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("var/coreset_accuracy"))
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/coreset_accuracy.json")
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--images-per-class", nargs="+", type=int, default=list(IMAGES_PER_CLASS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=300)
    given = parser.parse_args()
    source = dataset(given.archive, given.work)
    results: dict[str, Any] = {"environment": describe(Runtime.choose("cpu")), "reports": {}}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for title, spec in specs(load_prepared(source).facts, given).items():
        report = report_of(spec, source, given.work)
        results["reports"][title] = report
        given.out.write_text(json.dumps(results, indent=1) + "\n")
        found = [
            f"{arm['title']} {100 * sum(arm['runs']) / len(arm['runs']):.1f}"
            for arm in report["arms"]
        ]
        print(f"{title}: {', '.join(found)}", flush=True)
    print("| rule | " + " | ".join(f"{count}" for count in IMAGES_PER_CLASS) + " |")
    print("|---" * (1 + len(IMAGES_PER_CLASS)) + "|")
    for method in given.methods:
        print(row(method, results, given.images_per_class))


if __name__ == "__main__":
    main()
