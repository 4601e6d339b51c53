"""The accuracy report of a job: every number with its raw runs, nothing selected on test data."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Final, Literal

from pydantic import Field

from dcpi_core.spec.base import Record
from dcpi_core.spec.job import Control

FORMAT: Final = "dcpi-report/1"


ArmName = Literal["random", "base", "tuned", "assigned", "privileged"] | Control
LabelStage = Literal["assigned", "shipped"]
Verdict = Literal["too discriminative", "balanced", "too diverse"]


class Arm(Record):
    """One training set measured by the protocol.

    ``runs`` are last-epoch test accuracies in [0, 1], run i with seed i of the report, so that the
    arms of a report are paired. ``std`` is the sample standard deviation (n - 1), 0 for one run.

    Attributes:
        per_class: accuracy on each class, mean over the runs.
        worst_class: the class with the lowest of these; the first of several.
        worst_class_runs: the lowest accuracy on any class, run by run.
        calibration_errors: expected calibration error (15 bins) of each run.
        confusion: test images by true class (row) and predicted class (column), summed over the
            runs; none for more than 20 classes.
        seconds: wall seconds of each student's training, as measured when it was trained; empty
            where one was trained before they were measured.
        best_epoch_runs: highest test accuracy of each run along its training, for comparison with
            publications that report it: it is chosen by test data, and no other number of the
            report is. Empty unless the job asked for it.
        best_epochs: the epochs, counted from 1, after which these were first reached.
    """

    name: ArmName
    title: str
    network: str
    num_images: int
    train_bytes: int
    runs: tuple[float, ...] = Field(min_length=1)
    per_class: tuple[float, ...]
    worst_class: int | None = None
    worst_class_runs: tuple[float, ...] = ()
    calibration_errors: tuple[float, ...] = ()
    confusion: tuple[tuple[int, ...], ...] | None = None
    seconds: tuple[float, ...] = ()
    best_epoch_runs: tuple[float, ...] = ()
    best_epochs: tuple[int, ...] = ()

    @property
    def n(self) -> int:
        return len(self.runs)

    @property
    def mean(self) -> float:
        return fmean(self.runs)

    @property
    def std(self) -> float:
        return stdev(self.runs) if self.n > 1 else 0.0


def shipped_arm(arms: Sequence[Arm], network: str | None = None) -> Arm | None:
    """The arm that trained on everything shipped: with privileged labels if there are any.

    Of the first student unless one is named; None if it was not measured.
    """
    return _first(("privileged", "base"), arms, network)


def bare_arm(arms: Sequence[Arm], network: str | None = None) -> Arm | None:
    """The arm that trained on the shipped images without privileged labels, likewise."""
    return _first(("tuned", "base"), arms, network)


def _first(names: Sequence[ArmName], arms: Sequence[Arm], network: str | None) -> Arm | None:
    own = [arm for arm in arms if network in (None, arm.network)]
    return next((arm for name in names for arm in own if arm.name == name), None)


class Difference(Record):
    """Mean paired difference between two arms, in accuracy, with its standard error.

    ``tells`` says in words what the difference measures.
    """

    arm: str
    against: str
    network: str
    mean: float
    standard_error: float | None
    n: int
    tells: str = ""

    @classmethod
    def between(cls, arm: Arm, against: Arm, tells: str = "") -> "Difference":
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
            tells=tells,
        )


ScoreName = Literal["pi_gain", "ior", "ior_pi", "hlr", "lrs", "ars"]


class Score(Record):
    """A number that sums up several arms; ``docs/protocols.md`` defines each.

    Attributes:
        runs: its value for each run; empty where an arm is missing.
        mean: of these.
        reason: why there is none.
    """

    name: ScoreName
    network: str
    runs: tuple[float, ...] = ()
    mean: float | None = None
    standard_error: float | None = None
    reason: str = ""


class ByteCount(Record):
    """Bytes of the training data by part, as stored."""

    images: int
    labels: int
    privileged: dict[str, int]

    @property
    def total(self) -> int:
        return self.images + self.labels + sum(self.privileged.values())


class LabelStatistics(Record):
    """How discriminative and how diverse labels are; ``docs/protocols.md`` defines each number.

    Attributes:
        stage: ``shipped``, or ``assigned`` for what learned labels started from.
        transfer: accuracy in [0, 1] at which class means of the labels recognise the teacher's
            output for real training images outside the set.
        real_transfer: the same for class means of as many real images' own labels.
        fisher_ratio: scatter between classes over scatter within; none at one image per class.
        effective_rank: of the centred labels, at most ``largest_rank``.
        real_effective_rank: the same for as many real images' labels.
        within_class_distance: mean over pairs of a class, relative to the mean norm.
        drift: how far learning moved the labels, relative to their size; none if it did not run.
    """

    kind: str
    stage: LabelStage
    transfer: float | None = None
    real_transfer: float | None = None
    fisher_ratio: float | None
    effective_rank: float
    real_effective_rank: float | None = None
    largest_rank: int
    within_class_distance: float | None
    drift: float | None
    verdict: Verdict | None = None


class GradientAlignment(Record):
    """Cosines between the extractor's gradients on the set and on real images, along a training.

    Attributes:
        follows: what the students learn from: ``privileged``, the shipped set; ``base``, the same
            without its privileged labels.
        students: how many the cosines are the means of.
        steps: optimiser steps done when the gradients were compared.
        base: cosine for the gradient without the labels, at each of ``steps``.
        privileged: the same with them.
    """

    follows: Literal["base", "privileged"]
    students: int
    steps: tuple[int, ...]
    base: tuple[float, ...]
    privileged: tuple[float, ...]


class Distances(Record):
    """From every training image to the nearest chosen one of its class: mean and largest."""

    mean: float
    largest: float


class Selection(Record):
    """Which training images a coreset rule chose, and how they cover the others.

    One entry per image of the set, in its order, where there is a tuple of them. If the images
    were tuned afterwards, these are the images they started from.

    Attributes:
        space: what distances are measured in.
        source_indices: positions in the source's training split.
        stands_for: training images of its class that each image is the nearest chosen one of,
            itself included.
        neighbours: position in the training split of the nearest image of the class that was not
            chosen; none where the whole class was.
        neighbour_distances: distances to these.
        distances: how near the chosen images are to all images of their classes.
        random_distances: the same for images drawn at random, as many of each class; mean over
            several draws.
        empty_classes: classes of which a free choice took no image.
    """

    space: str
    source_indices: tuple[int, ...]
    stands_for: tuple[int, ...]
    neighbours: tuple[int | None, ...]
    neighbour_distances: tuple[float | None, ...]
    distances: Distances
    random_distances: Distances
    empty_classes: tuple[int, ...] = ()


class Cost(Record):
    """What the job took, beyond the wall seconds of its phases.

    Attributes:
        device_seconds: by phase, between events on the GPU; empty without one.
        peak_memory_bytes: largest resident memory of the process so far.
        peak_device_memory_bytes: largest memory allocated on the GPU.
        full_epoch_seconds: wall seconds of one epoch on the whole training data with the network
            used for condensing, as measured while this job trained its teachers and proxies; none
            where it found them ready.
        full_epochs: epochs on the whole training data that take as long as this condensed set
            took to make, evaluation and controls not counted. Training on the whole data for
            longer than that is what the set saves, for every network trained on it.
        break_even_students: trainings on this set, each in place of one on all training images,
            after which the time that the set took to make has been saved; none without the control
            ``full``, if that was no slower, or where teachers or proxies were found ready.
    """

    device_seconds: dict[str, float]
    peak_memory_bytes: int
    peak_device_memory_bytes: int | None
    full_epoch_seconds: float | None
    full_epochs: float | None
    break_even_students: float | None = None


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
    scores: tuple[Score, ...] = ()
    bytes: ByteCount
    seconds: dict[str, float]
    cost: Cost | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    label_statistics: tuple[LabelStatistics, ...] = ()
    gradient_alignment: tuple[GradientAlignment, ...] = ()
    selection: Selection | None = None
    environment: Environment
    notes: tuple[str, ...] = ()

    def arm(self, name: str, network: str | None = None) -> Arm:
        """The arm called ``name``, of the first student unless one is named; raises KeyError."""
        for arm in self.arms:
            if arm.name == name and network in (None, arm.network):
                return arm
        raise KeyError(name)
