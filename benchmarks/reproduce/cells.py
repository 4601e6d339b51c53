"""A table of the paper as jobs: which arm of which job gives which number."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Scale = Literal["cpu", "paper"]

REPEATS: dict[Scale, int] = {"cpu": 3, "paper": 20}

CPU_BASE: dict[tuple[str, int], dict[str, Any]] = {
    ("dc", 1): {"iterations": 200},
    ("dc", 10): {"iterations": 4, "real_batch": 64, "inner_epochs": 10},
    ("dsa", 1): {"iterations": 200, "real_batch": 64},
    ("dsa", 10): {"iterations": 4, "real_batch": 64, "inner_epochs": 10},
    ("dcc", 1): {"iterations": 50},
    ("dcc", 10): {"iterations": 4, "real_batch": 64, "inner_epochs": 10},
    ("dsac", 1): {"iterations": 50},
    ("dsac", 10): {"iterations": 4, "real_batch": 64, "inner_epochs": 10},
    ("dm", 1): {"iterations": 300},
    ("dm", 10): {"iterations": 300},
    ("datadam", 1): {"iterations": 300},
    ("datadam", 10): {"iterations": 300},
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

    def request(self, dataset: str, scale: Scale) -> dict[str, Any]:
        """The body of ``POST /v1/jobs``."""
        base, labels = dict(self.base), {name: dict(own) for name, own in self.labels.items()}
        if scale == "cpu":
            base = CPU_BASE.get((self.method, self.images_per_class), {}) | base
            for own in labels.values():
                if own.get("learning") == "gradient_matching" or "preset" in own:
                    own.update({k: v for k, v in CPU_LEARNING.items() if k not in own})
        options: dict[str, Any] = {
            "base": base,
            "pi": labels,
            "evaluation": {
                "repeats": REPEATS[scale],
                "protocol": self.protocol,
                "networks": self.students,
                "controls": self.controls,
            },
        }
        if self.network is not None:
            options["network"] = self.network
        return {
            "dataset": dataset,
            "images_per_class": self.images_per_class,
            "base_method": self.method,
            "pi_type": tuple(labels) or "none",
            "options": options,
        }


@dataclass(frozen=True)
class Cell:
    """One number: the accuracy of an arm of a job, with the paper's in per cent beside it."""

    row: str
    column: str
    job: Job
    arm: str = "base"
    student: str | None = None
    paper: float | None = None


@dataclass(frozen=True)
class Table:
    """A table or figure of the paper."""

    title: str
    caption: str
    cells: tuple[Cell, ...]

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(cell.row for cell in self.cells))

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(cell.column for cell in self.cells))

    def jobs(self, pattern: str = "") -> Iterator[Job]:
        """Every job once, in the order of the columns, so that whole columns come early."""
        seen: list[Job] = []
        for column in self.columns:
            for cell in self.cells:
                wanted = re.search(pattern, f"{cell.row}, {cell.column}")
                if cell.column == column and wanted and cell.job not in seen:
                    seen.append(cell.job)
                    yield cell.job
