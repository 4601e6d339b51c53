"""The accuracy report of a job: every number with its raw runs, nothing selected on test data."""

import math
from statistics import fmean, stdev
from typing import Final, Literal

from pydantic import Field

from dcpi_core.spec.base import Record

FORMAT: Final = "dcpi-report/1"


class Arm(Record):
    """One training set measured by the protocol.

    ``runs`` are last-epoch test accuracies in [0, 1], run i with seed i of the report, so that the
    arms of a report are paired. ``std`` is the sample standard deviation (n - 1), 0 for one run.
    """

    name: Literal["random", "base", "tuned", "assigned", "privileged"]
    title: str
    network: str
    num_images: int
    train_bytes: int
    runs: tuple[float, ...] = Field(min_length=1)
    per_class: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.runs)

    @property
    def mean(self) -> float:
        return fmean(self.runs)

    @property
    def std(self) -> float:
        return stdev(self.runs) if self.n > 1 else 0.0


class Difference(Record):
    """Mean paired difference between two arms, in accuracy, with its standard error."""

    arm: str
    against: str
    network: str
    mean: float
    standard_error: float | None
    n: int

    @classmethod
    def between(cls, arm: Arm, against: Arm) -> "Difference":
        """Compare two arms run by run; the seeds are the same."""
        deltas = [a - b for a, b in zip(arm.runs, against.runs, strict=True)]
        error = stdev(deltas) / math.sqrt(len(deltas)) if len(deltas) > 1 else None
        return cls(
            arm=arm.name,
            against=against.name,
            network=arm.network,
            mean=fmean(deltas),
            standard_error=error,
            n=len(deltas),
        )


class ByteCount(Record):
    """Bytes of the training data by part, as stored."""

    images: int
    labels: int
    privileged: dict[str, int]

    @property
    def total(self) -> int:
        return self.images + self.labels + sum(self.privileged.values())


class Environment(Record):
    """Where the numbers were measured."""

    dcpi: str
    python: str
    torch: str
    machine: str
    device: str
    threads: int
    engine: str


class Report(Record):
    """Accuracy, cost and provenance of one condensed dataset."""

    format: Literal["dcpi-report/1"] = FORMAT
    protocol: str
    epochs: int
    seeds: tuple[int, ...]
    num_test: int
    arms: tuple[Arm, ...]
    differences: tuple[Difference, ...]
    bytes: ByteCount
    seconds: dict[str, float]
    metrics: dict[str, float] = Field(default_factory=dict)
    environment: Environment
    notes: tuple[str, ...] = ()

    def arm(self, name: str, network: str | None = None) -> Arm:
        """The arm called ``name``, of the first student unless one is named; raises KeyError."""
        for arm in self.arms:
            if arm.name == name and network in (None, arm.network):
                return arm
        raise KeyError(name)
