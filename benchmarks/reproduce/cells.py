"""A table of the paper as jobs: which arm of which job gives which number."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Scale = Literal["cpu", "paper"]

REPEATS: dict[Scale, int] = {"cpu": 3, "paper": 20}

SMALL_POOL = {"pool_networks": 2, "pool_epochs": 4}

CPU_BASE: dict[tuple[str, int], dict[str, Any]] = {
    ("dc", 1): {"iterations": 200},
    ("dc", 10): {"iterations": 4, "real_batch": 64, "inner_epochs": 10},
    ("dsa", 1): {"iterations": 200, "real_batch": 64},
    ("dsa", 10): {"iterations": 4, "real_batch": 64, "inner_epochs": 10},
    ("dcc", 1): {"iterations": 20, "real_batch": 128},
    ("dcc", 10): {"iterations": 4, "real_batch": 64, "inner_epochs": 10},
    ("dsac", 1): {"iterations": 20, "real_batch": 128},
    ("dsac", 10): {"iterations": 4, "real_batch": 64, "inner_epochs": 10},
    ("dm", 1): {"iterations": 300},
    ("dm", 10): {"iterations": 300},
    ("datadam", 1): {"iterations": 300},
    ("datadam", 10): {"iterations": 300},
    ("cafe", 1): {"iterations": 20, "real_batch": 64, "watch_batch": 32, "inner_epochs": 10},
    ("cafe", 10): {"iterations": 6, "real_batch": 64, "watch_batch": 32, "inner_epochs": 10},
    ("idm", 1): {"iterations": 300, "real_batch": 64, "training_steps": 2},
    ("idm", 10): {"iterations": 200, "real_batch": 64, "training_steps": 2},
    ("ncfm", 1): {"iterations": 200, "real_batch": 128, "frequencies": 256} | SMALL_POOL,
    ("ncfm", 10): {"iterations": 200, "real_batch": 128, "frequencies": 256} | SMALL_POOL,
}
"""Options of base methods at CPU scale, by (method, images per class); else as published."""

CPU_LEARNING = {"iterations": 50, "outer_loops": 1, "inner_epochs": 0}
"""Loops of learned labels at CPU scale."""


@dataclass(frozen=True)
class Job:
    """A job of a table: what is put on which base, and who is trained on it."""

    method: str
    images_per_class: int
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    base: Mapping[str, Any] = field(default_factory=dict)
    network: str | None = None
    students: tuple[str, ...] = ()
    protocol: str = "dc"
    controls: tuple[str, ...] = ()
    repeats: int | None = None
    seed: int = 0

    def request(self, dataset: str, scale: Scale) -> dict[str, Any]:
        """The body of ``POST /v1/jobs``."""
        base, labels = dict(self.base), {name: dict(own) for name, own in self.labels.items()}
        if scale == "cpu":
            base = CPU_BASE.get((self.method, self.images_per_class), {}) | base
            for own in labels.values():
                learned = own.get("learning") == "gradient_matching"
                if learned or own.get("preset") == "published":
                    own.update({k: v for k, v in CPU_LEARNING.items() if k not in own})
        options: dict[str, Any] = {
            "base": base,
            "pi": labels,
            "evaluation": {
                "repeats": self.repeats or REPEATS[scale],
                "protocol": self.protocol,
                "networks": self.students,
                "controls": self.controls,
            },
        }
        if self.network is not None:
            options["network"] = self.network
        request = {
            "dataset": dataset,
            "images_per_class": self.images_per_class,
            "base_method": self.method,
            "pi_type": tuple(labels) or "none",
            "options": options,
        }
        return request | ({"seed": self.seed} if self.seed else {})


@dataclass(frozen=True)
class Cell:
    """One number: the accuracy of an arm of a job, with the paper's in per cent beside it."""

    row: str
    column: str
    job: Job
    arm: str = "base"
    student: str | None = None
    paper: float | None = None

    def seeded(self, seed: int) -> "Cell":
        """The same number of another synthesis: other proxies, teachers, images and students."""
        return replace(self, job=replace(self.job, seed=seed))


@dataclass(frozen=True)
class Table:
    """A table or figure: of the paper, or of ours in the same form.

    Attributes:
        seeds: how often everything is synthesised anew; a cell is then the mean over syntheses.
        gains: pairs of rows whose difference is stated, with its standard error over syntheses.
        beside: the row beside which those without labels are drawn, over columns that are shares
            of the training set; none if there is no such picture.
    """

    title: str
    caption: str
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...] = (0,)
    gains: tuple[tuple[str, str], ...] = ()
    beside: str | None = None

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(cell.row for cell in self.cells))

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(cell.column for cell in self.cells))

    def jobs(self, pattern: str = "") -> Iterator[Job]:
        """Every job once: synthesis by synthesis, and in each column by column."""
        wanted = [c for c in self.cells if re.search(pattern, f"{c.row}, {c.column}")]
        cells = sorted(wanted, key=lambda cell: self.columns.index(cell.column))
        seen: list[Job] = []
        for seed in self.seeds:
            for job in (cell.seeded(seed).job for cell in cells):
                if job not in seen:
                    seen.append(job)
                    yield job
