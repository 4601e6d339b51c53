"""What a privileged type is: it takes any condensed set and learns or assigns labels for it.

Like a base method it works in steps on a state that is data. A type that assigns its labels has
no steps at all; one that learns them also says what plain assignment would have given, because
the report compares the two.
"""

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pydantic import Field
from torch import Tensor

from dcpi_core.condensed import CondensedSet, PrivilegedLabels
from dcpi_core.context import Context, Metrics
from dcpi_core.real_training import TrainingPlan
from dcpi_core.spec.base import Options

State = TypeVar("State")


class TeacherOptions(Options):
    """The network whose knowledge the labels carry, trained on the real training data."""

    teacher_epochs: int = Field(
        6, ge=1, le=500, description="a barely trained teacher's labels are worth nothing"
    )
    teacher_min_steps: int = Field(
        500, ge=0, le=100_000, description="train small datasets at least this many steps"
    )
    teacher_momentum: float = Field(0.9, ge=0, lt=1)
    teacher_weight_decay: float = Field(5e-4, ge=0, le=1)

    def plan(self, ctx: Context, member: int = 0) -> TrainingPlan:
        """How teacher number ``member`` is trained."""
        return TrainingPlan(
            network=ctx.network,
            epochs=self.teacher_epochs,
            min_steps=self.teacher_min_steps,
            momentum=self.teacher_momentum,
            weight_decay=self.teacher_weight_decay,
            seed=ctx.streams.seed,
            member=member,
        )


class PrivilegedType(Protocol[State]):
    """A way to make privileged labels. Constructed with its validated options.

    ``labels`` is the class of the labels it makes, by which a bundle restores them. Condensed sets
    come as students see them: where a stored image holds several, these are images of their own.
    """

    labels: type[PrivilegedLabels]
    state_type: type[State]

    def needs(self, ctx: Context) -> list[TrainingPlan]:
        """Networks trained on real data that must exist before the first step."""
        ...

    def teachers(self, ctx: Context) -> list[TrainingPlan]:
        """Those among them that assigned labels come from."""
        ...

    def total_steps(self, ctx: Context) -> int:
        """How many times ``step`` is called; 0 when labels are assigned directly."""
        ...

    def init(self, condensed: CondensedSet, ctx: Context) -> State:
        """The state before the first step."""
        ...

    def step(self, state: State, condensed: CondensedSet, number: int, ctx: Context) -> Metrics:
        """Do step ``number`` (from 0), changing only ``state``."""
        ...

    def assigned(self, state: State) -> PrivilegedLabels:
        """The labels as they were before any learning."""
        ...

    def unaided(self) -> "PrivilegedType[State]":
        """The same type, whose labels say of an image's class only what its teacher knows.

        Itself, unless it mixes the hard label in.
        """
        ...

    def finish(self, state: State) -> "Enrichment":
        """The labels, and what is worth reporting about them."""
        ...


@dataclass(frozen=True)
class Enrichment:
    """What a privileged type made.

    Attributes:
        images: the images, if they were tuned together with the labels.
    """

    labels: PrivilegedLabels
    metrics: Metrics
    images: Tensor | None = None


AnyPrivilegedType = PrivilegedType[Any]


def drift(values: Tensor, start: Tensor) -> float | None:
    """rms(f* - f*_0) / rms(f*_0): how far learning moved the labels. None if they began at 0."""
    size = float(start.double().square().mean().sqrt())
    moved = float((values.double() - start.double()).square().mean().sqrt())
    return moved / size if size else None
