"""One measurement: train one student on one set with one seed, test it on the whole test set."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dcpi_core.compute import Runtime
from dcpi_core.condensed import CondensedSet
from dcpi_core.datasets.base import ImageDataset, Split
from dcpi_core.evaluation.predictions import confusion_matrix, expected_calibration_error
from dcpi_core.networks import Network, build
from dcpi_core.rng import Streams
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.training import OnStep, Recipe, fit, logits_on

CONFUSION_CLASSES = 20
"""A confusion matrix grows with the square of the classes, and nobody reads a large one."""


@dataclass(frozen=True)
class Measurement:
    """What one student got right on the test set after its last epoch.

    Attributes:
        accuracy: in [0, 1].
        per_class: accuracy on each class.
        calibration_error: expected calibration error, see ``predictions``.
        confusion: counts, row the true class, column the predicted one; none where there are more
            than ``CONFUSION_CLASSES`` classes.
        seconds: wall seconds of the training, tests in between left out; none in older files.
        best_accuracy: the highest accuracy seen along the training if the student was tested along
            it, ``best_epoch`` the first epoch, counted from 1, after which it was seen. Both are
            chosen by test data and stand beside ``accuracy``, never for it.
    """

    accuracy: float
    per_class: tuple[float, ...]
    calibration_error: float
    confusion: tuple[tuple[int, ...], ...] | None
    seconds: float | None = None
    best_accuracy: float | None = None
    best_epoch: int | None = None

    @classmethod
    def restore(cls, values: Mapping[str, Any]) -> "Measurement":
        """From JSON, the inverse of ``dataclasses.asdict``."""
        confusion = values["confusion"]
        return cls(
            accuracy=values["accuracy"],
            per_class=tuple(values["per_class"]),
            calibration_error=values["calibration_error"],
            confusion=None if confusion is None else tuple(tuple(row) for row in confusion),
            **{name: values.get(name) for name in ("seconds", "best_accuracy", "best_epoch")},
        )


@dataclass(frozen=True)
class Trial:
    """A student to be trained: the same trial gives the same student."""

    network: str
    recipe: Recipe
    seed: int


def measure(
    trial: Trial,
    condensed: CondensedSet,
    source: ImageDataset,
    runtime: Runtime,
    on_step: OnStep | None = None,
    test_every: int = 0,
) -> Measurement:
    """Train a fresh student on the condensed set and test it.

    Args:
        test_every: also test it after every so many epochs, which changes nothing but the time;
            0: only at the end.
    """
    streams = Streams(trial.seed)
    student = fresh_student(trial.network, source.facts, streams)
    tests = _TestsAlongTheWay(student, source, runtime, test_every, trial.recipe, on_step)
    began = time.monotonic()
    fit(
        student, condensed, trial.recipe, streams=streams, runtime=runtime, on_step=tests.after_step
    )
    seconds = time.monotonic() - began - tests.seconds
    found = replace(evaluate(student, source, runtime), seconds=seconds)
    return tests.with_best(found) if test_every else found


class _TestsAlongTheWay:
    """Tests a student while it is trained, and remembers the best."""

    def __init__(
        self,
        student: Network,
        source: ImageDataset,
        runtime: Runtime,
        every: int,
        recipe: Recipe,
        on_step: OnStep | None,
    ) -> None:
        self.student, self.source, self.runtime = student, source, runtime
        self.every, self.epochs, self.on_step = every, len(recipe.learning_rates()), on_step
        self.best: tuple[float, int] | None = None
        self.seconds = 0.0

    def after_step(self, step: int, total: int) -> None:
        """To be called after each optimiser step; tests the student where an epoch ends."""
        if self.on_step is not None:
            self.on_step(step, total)
        epoch, rest = divmod(step * self.epochs, total)
        last = epoch == self.epochs  # tested anyway
        if self.every and not rest and not last and epoch % self.every == 0:
            began = time.monotonic()
            self._note(evaluate(self.student, self.source, self.runtime).accuracy, epoch)
            self.student.train()
            self.seconds += time.monotonic() - began

    def with_best(self, last: Measurement) -> Measurement:
        """The measurement after the last epoch, beside the best of all epochs tested."""
        self._note(last.accuracy, self.epochs)
        assert self.best is not None
        return replace(last, best_accuracy=self.best[0], best_epoch=self.best[1])

    def _note(self, found: float, epoch: int) -> None:
        if self.best is None or found > self.best[0]:
            self.best = found, epoch


def fresh_student(network: str, facts: DatasetFacts, streams: Streams) -> Network:
    """A newly initialised student for this dataset."""
    with streams.initialisation("student", network):
        return build(network, facts.channels, facts.num_classes, (facts.height, facts.width))


def evaluate(network: Network, source: ImageDataset, runtime: Runtime | None = None) -> Measurement:
    """Test a trained network on the test split; moves it to the runtime's device."""
    return evaluate_on(source.test, network, source.facts, runtime or Runtime.choose())


def evaluate_on(
    split: Split, network: Network, facts: DatasetFacts, runtime: Runtime
) -> Measurement:
    """Test a trained network on these images; moves it to the runtime's device."""
    return measurement_of(logits_on(network, split, facts, runtime), split.labels)


def measurement_of(logits: Tensor, labels: Tensor) -> Measurement:
    """Every score of a student from its logits (n, K) on test images with these labels (n,)."""
    num_classes = logits.shape[1]
    predicted = logits.argmax(1)
    right = (predicted == labels).double()
    per_class = tuple(float(right[labels == label].mean()) for label in range(num_classes))
    confusion = None
    if num_classes <= CONFUSION_CLASSES:
        counts = confusion_matrix(predicted, labels, num_classes)
        confusion = tuple(tuple(row) for row in counts.tolist())
    error = expected_calibration_error(torch.softmax(logits.double(), 1), labels)
    return Measurement(float(right.mean()), per_class, error, confusion)
