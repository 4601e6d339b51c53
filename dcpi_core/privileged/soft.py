"""Soft labels: class probabilities for each condensed image.

They are a teacher's, or learned on from there through the training of students.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from dcpi_core.compute import sent
from dcpi_core.condensed import CondensedSet, PrivilegedLabels, StudentOutput
from dcpi_core.context import Context, Metrics
from dcpi_core.ops.losses import soft_cross_entropy
from dcpi_core.privileged.base import Enrichment, TeacherOptions, drift
from dcpi_core.real_training import TrainingPlan
from dcpi_core.registry import PRIVILEGED_TYPES
from dcpi_core.training import predict
from dcpi_core.unrolling import UnrolledOptions, nobody, update
from dcpi_core.window import Course

LEAST = 1e-3
"""Of all classes together, the probability that learning starts from at least: logarithms are
learned, and zero has none. Shared among the classes, it moves no label by more than itself."""


class SoftOptions(TeacherOptions, UnrolledOptions):
    """Which teacher, how soft its labels are, and how they are learned if they are."""

    learning: Literal["assigned", "unrolled"] = Field(
        "assigned", description="a teacher's probabilities as they are, or learned on from there"
    )
    temperature: float = Field(
        1.0, gt=0, le=100, description="divides the teacher's logits; above 1 is softer"
    )
    hard_label_weight: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the hard label in the soft one; synthetic images may show a teacher "
        "nothing that it knows, and its word alone is then worth little",
    )


@dataclass(frozen=True)
class SoftLabels(PrivilegedLabels):
    """Class probabilities (n, K); they replace the hard labels in the student's loss."""

    probabilities: Tensor
    temperature: float = 1.0
    teacher: str = ""

    kind: ClassVar[str] = "soft"
    replaces_hard_labels: ClassVar[bool] = True

    def loss(self, output: StudentOutput, labels: Tensor) -> Tensor:
        return soft_cross_entropy(output.logits, self.probabilities)

    def batch(self, index: Tensor) -> Self:
        return replace(self, probabilities=self.probabilities[index])

    def to(self, device: torch.device) -> Self:
        return replace(self, probabilities=sent(self.probabilities, device))

    def as_values(self) -> Tensor:
        return self.probabilities

    def with_values(self, values: Tensor) -> Self:
        return replace(self, probabilities=values)

    def stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        settings = {"temperature": self.temperature, "teacher": self.teacher}
        return {"probabilities": self.probabilities}, settings

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Self:
        return cls(tensors["probabilities"], settings["temperature"], settings["teacher"])


@dataclass
class SoftState:
    """Labels as they are and as they were, as logarithms, and the students of unrolled learning.

    ``start`` are those of ``probabilities``; ``agreement`` is the share of images whose class the
    teacher tells.
    """

    probabilities: Tensor
    start: Tensor
    values: Tensor
    pupils: dict[str, Tensor]
    teacher: str
    teacher_accuracy: float
    agreement: float


def logarithms(probabilities: Tensor) -> Tensor:
    """What learning starts from: (n, K), finite, whose softmax is ``probabilities`` (n, K)."""
    return probabilities.clamp_min(LEAST / probabilities.shape[1]).log()


@PRIVILEGED_TYPES.register(
    "soft",
    options=SoftOptions,
    source="Hinton et al., 2015 (arXiv 1503.02531); learned: Bohdal et al., 2020 (2006.08572)",
)
class Soft:
    """Class probabilities in place of the hard labels."""

    labels = SoftLabels
    state_type = SoftState

    def __init__(self, options: SoftOptions) -> None:
        self.options = options

    def needs(self, ctx: Context) -> list[TrainingPlan]:
        return self.teachers(ctx)

    def teachers(self, ctx: Context) -> list[TrainingPlan]:
        return [self.options.plan(ctx)]

    def total_steps(self, ctx: Context) -> int:
        return self.options.unrolled_updates if self.options.learning == "unrolled" else 0

    def init(self, condensed: CondensedSet, ctx: Context) -> SoftState:
        plan = self.options.plan(ctx)
        teacher = ctx.trained_network(plan)
        network = teacher.network(ctx.facts, ctx.runtime)
        found = predict(network, iter([condensed.images]), ctx.runtime.for_whole_sets)
        logits = torch.cat([part.cpu() for _, part in found])
        own = torch.softmax(logits / self.options.temperature, dim=1)
        hard = F.one_hot(condensed.labels.cpu(), logits.shape[1]).to(own)
        probabilities = own.lerp(hard, self.options.hard_label_weight)
        start = logarithms(probabilities)
        learned = self.options.learning == "unrolled"
        return SoftState(
            probabilities=probabilities,
            start=start,
            values=start.clone(),
            pupils=nobody(start, self.options, ctx) if learned else {},
            teacher=plan.digest(ctx.facts.fingerprint),
            teacher_accuracy=teacher.train_accuracy,
            agreement=float((logits.argmax(1) == condensed.labels.cpu()).double().mean()),
        )

    def step(self, state: SoftState, condensed: CondensedSet, number: int, ctx: Context) -> Metrics:
        course = Course.on(condensed, lambda values: self._labels(values.softmax(1), state), ctx)
        found = update(state.values, state.start, state.pupils, number, course, self.options, ctx)
        state.values, state.pupils = found.values, found.state
        return {"loss": found.loss, "label_drift": self._drift(state)}

    def assigned(self, state: SoftState) -> SoftLabels:
        return self._labels(state.probabilities, state)

    def unaided(self) -> "Soft":
        return Soft(self.options.model_copy(update={"hard_label_weight": 0.0}))

    def finish(self, state: SoftState) -> Enrichment:
        metrics = {
            "teacher_train_accuracy": state.teacher_accuracy,
            "teacher_agreement": state.agreement,
        }
        if self.options.learning == "assigned":
            return Enrichment(self.assigned(state), metrics)
        metrics["label_drift"] = self._drift(state)
        return Enrichment(self._labels(state.values.softmax(1), state), metrics)

    def _labels(self, probabilities: Tensor, state: SoftState) -> SoftLabels:
        return SoftLabels(probabilities, self.options.temperature, state.teacher)

    def _drift(self, state: SoftState) -> float:
        """How far learning moved the probabilities, relative to their size, which is never zero."""
        return drift(state.values.softmax(1), state.probabilities) or 0.0
