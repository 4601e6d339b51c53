"""Runs the jobs of one table and keeps their reports.

    python -m benchmarks.reproduce table1 --scale cpu --archive cifar10.tar.xz
    python -m benchmarks.reproduce table11 --scale paper --dataset cifar10 --only '0.02 %'

Jobs, teachers, base sets and students are kept under ``--work``: an interrupted run goes on where
it stopped, and tables that share a base set share its cost. ``--list`` shows what would be run.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.machine import commit
from benchmarks.reproduce.cells import REPEATS, Job, Scale
from benchmarks.reproduce.results import kept, key_of, path_of
from benchmarks.reproduce.tables import TABLES
from dcpi_core import bundle, pipeline
from dcpi_core.datasets import inspect_archive, load, load_prepared
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.job import JobRequest, JobSpec
from dcpi_core.spec.report import Report
from dcpi_core.spec.resolve import resolve

JPEG, PUBLISHED = "cifar10-jpeg", "cifar10"
"""What results on the archive are called, and the dataset whose presets apply to it."""


def dataset_file(archive: Path, work: Path) -> Path:
    """The archive's images in canonical form, decoded once."""
    path = work / f"{JPEG}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        inspect_archive(archive, JPEG, path)
    return path


def spec_of(job: Job, scale: Scale, facts: DatasetFacts) -> JobSpec:
    """A job with every default; on CIFAR-10 from an archive, those of CIFAR-10."""
    named = facts.model_copy(update={"name": PUBLISHED}) if facts.name == JPEG else facts
    return resolve(JobRequest.model_validate(job.request(named.name, scale)), named)


def report_of(
    job: Job, scale: Scale, facts: DatasetFacts, source: Path | None, given: argparse.Namespace
) -> Report:
    """Run a job, or read its bundle if it is there."""
    spec = spec_of(job, scale, facts)
    workspace = given.work / "jobs" / spec.digest()[:16]
    directory = workspace / "bundle"
    if not (directory / "report.json").exists():
        place = pipeline.Workplace(workspace, given.work / "assets", given.data_root, source)
        directory = pipeline.run(spec, place)
    return bundle.load(directory).report


def show(job: Job, report: Report) -> None:
    """One job's accuracies on a line."""
    found = (
        f"{arm.title} [{arm.network}] {100 * arm.mean:.1f} ± {100 * arm.std:.1f}"
        for arm in report.arms
    )
    print(f"{job.method}, {job.images_per_class} per class: {'; '.join(found)}", flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--scale", choices=REPEATS, default="cpu")
    parser.add_argument("--only", default="", help="regular expression on 'row, column'")
    parser.add_argument("--archive", type=Path, help="CIFAR-10 as an archive of class folders")
    parser.add_argument("--dataset", default="cifar10", help="published dataset, if no archive")
    parser.add_argument("--data-root", type=Path, help="where published datasets lie")
    parser.add_argument("--work", type=Path, default=Path("var/reproduce"))
    parser.add_argument("--list", action="store_true", help="show the jobs and stop")
    return parser.parse_args()


def main() -> None:
    """Run what is missing; the results file is written after every job."""
    given = parsed()
    jobs = list(TABLES[given.table].jobs(given.only))
    if given.list:
        for job in jobs:
            print(json.dumps(job.request(given.dataset, given.scale)))
        return
    source = dataset_file(given.archive, given.work) if given.archive else None
    facts = (load_prepared(source) if source else load(given.dataset, given.data_root)).facts
    path = path_of(given.table, given.scale)
    found: dict[str, Any] = {"dataset": facts.name, "scale": given.scale, "jobs": {}}
    if path.exists():
        found["jobs"] = json.loads(path.read_text())["jobs"]
    path.parent.mkdir(parents=True, exist_ok=True)
    started = commit()
    for number, job in enumerate(jobs, start=1):
        key = key_of(job, facts.name, given.scale)
        if key not in found["jobs"]:
            report = report_of(job, given.scale, facts, source, given)
            request = job.request(facts.name, given.scale)
            found["jobs"][key] = {"request": request, "commit": started, "report": kept(report)}
            path.write_text(json.dumps(found, indent=1) + "\n")
            print(f"{number}/{len(jobs)} ", end="")
            show(job, report)


if __name__ == "__main__":
    main()
