"""Results of a table on disk, and its cells read from them."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.reproduce.cells import Cell, Job, Scale
from dcpi_core.spec.report import Report

FOLDER = Path(__file__).parents[1] / "results" / "reproduce"


def path_of(table: str, scale: Scale) -> Path:
    """The file of a table's results."""
    return FOLDER / f"{table}_{scale}.json"


def key_of(job: Job, dataset: str, scale: Scale) -> str:
    """What identifies a job in the results."""
    text = json.dumps(job.request(dataset, scale), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def kept(report: Report) -> dict[str, Any]:
    """What is committed of a report: raw runs, seeds and bytes; the rest stays in the bundle."""
    arms = [
        {
            "name": arm.name,
            "title": arm.title,
            "network": arm.network,
            "num_images": arm.num_images,
            "train_bytes": arm.train_bytes,
            "runs": arm.runs,
        }
        for arm in report.arms
    ]
    return {
        "environment": report.environment.model_dump(mode="json"),
        "protocol": report.protocol,
        "epochs": report.epochs,
        "seeds": report.seeds,
        "seconds": report.seconds,
        "arms": arms,
        "notes": report.notes,
    }


def runs_of(cell: Cell, found: dict[str, Any]) -> list[float] | None:
    """Accuracies of a cell's students; None if its job has not been run."""
    job = found["jobs"].get(key_of(cell.job, found["dataset"], found["scale"]))
    if job is None:
        return None
    for arm in job["report"]["arms"]:
        if arm["name"] == cell.arm and cell.student in (None, arm["network"]):
            return list(arm["runs"])
    return None


def syntheses(
    cell: Cell | None, found: dict[str, Any], seeds: Sequence[int]
) -> dict[int, list[float]]:
    """Accuracies of a cell's students by the seed of the synthesis, of those that were run."""
    if cell is None:
        return {}
    runs = {seed: runs_of(cell.seeded(seed), found) for seed in seeds}
    return {seed: own for seed, own in runs.items() if own is not None}
