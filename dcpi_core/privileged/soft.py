"""Soft labels: a teacher's class probabilities for each condensed image."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from dcpi_core.condensed import CondensedSet, PrivilegedLabels, StudentOutput
from dcpi_core.context import Context, Metrics
from dcpi_core.ops.losses import soft_cross_entropy
from dcpi_core.privileged.base import Enrichment, TeacherOptions
from dcpi_core.real_training import TrainingPlan
from dcpi_core.registry import PRIVILEGED_TYPES
from dcpi_core.training import predict


class SoftOptions(TeacherOptions):
    """Which teacher, and how soft its labels are."""

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
        return replace(self, probabilities=self.probabilities.to(device))

    def stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        settings = {"temperature": self.temperature, "teacher": self.teacher}
        return {"probabilities": self.probabilities}, settings

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Self:
        return cls(tensors["probabilities"], settings["temperature"], settings["teacher"])


@dataclass
class SoftState:
    """The labels; there is nothing left to learn.

    ``agreement`` is the share of images whose class the teacher tells.
    """

    probabilities: Tensor
    teacher: str
    teacher_accuracy: float
    agreement: float


@PRIVILEGED_TYPES.register(
    "soft", options=SoftOptions, source="Hinton et al., 2015 (arXiv 1503.02531)"
)
class Soft:
    """Class probabilities of a teacher, in place of the hard labels."""

    labels = SoftLabels
    state_type = SoftState

    def __init__(self, options: SoftOptions) -> None:
        self.options = options

    def needs(self, ctx: Context) -> list[TrainingPlan]:
        return [self.options.plan(ctx)]

    def total_steps(self, ctx: Context) -> int:
        return 0

    def init(self, condensed: CondensedSet, ctx: Context) -> SoftState:
        plan = self.options.plan(ctx)
        teacher = ctx.trained_network(plan)
        network = teacher.network(ctx.facts, ctx.runtime)
        found = predict(network, iter([condensed.images]), ctx.runtime)
        logits = torch.cat([part for _, part in found]).cpu()
        own = torch.softmax(logits / self.options.temperature, dim=1)
        hard = F.one_hot(condensed.labels.cpu(), logits.shape[1]).to(own)
        return SoftState(
            probabilities=own.lerp(hard, self.options.hard_label_weight),
            teacher=plan.digest(ctx.facts.fingerprint),
            teacher_accuracy=teacher.train_accuracy,
            agreement=float((logits.argmax(1) == condensed.labels.cpu()).double().mean()),
        )

    def step(self, state: SoftState, condensed: CondensedSet, number: int, ctx: Context) -> Metrics:
        raise AssertionError("soft labels are assigned; there are no steps")

    def assigned(self, state: SoftState) -> SoftLabels:
        return SoftLabels(state.probabilities, self.options.temperature, state.teacher)

    def finish(self, state: SoftState) -> Enrichment:
        metrics = {
            "teacher_train_accuracy": state.teacher_accuracy,
            "teacher_agreement": state.agreement,
        }
        return Enrichment(self.assigned(state), metrics)
