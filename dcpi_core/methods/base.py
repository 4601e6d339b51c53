"""What a base method is: state in, one step at a time, a condensed set out.

The pipeline owns the loop, the progress reports and the checkpoints; a method only says how to
begin, what one step does and what is left at the end. All of a method's memory is its state, a
dataclass of tensors and numbers, so saving and resuming is the same code for every method.
"""

from typing import Any, Protocol, TypeVar

from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context, Metrics
from dcpi_core.real_training import TrainingPlan

State = TypeVar("State")


class Method(Protocol[State]):
    """A way to choose or synthesise the images. Constructed with its validated options."""

    state_type: type[State]

    def needs(self, ctx: Context) -> list[TrainingPlan]:
        """Networks trained on real data that must exist before the first step."""
        ...

    def total_steps(self, ctx: Context) -> int:
        """How many times ``step`` is called."""
        ...

    def init(self, ctx: Context) -> State:
        """The state before the first step."""
        ...

    def step(self, state: State, number: int, ctx: Context) -> Metrics:
        """Do step ``number`` (from 0), changing only ``state``.

        A method with the option ``iterations`` can be called on, past ``total_steps``: the report
        compares learned labels with as many further steps on the images.
        """
        ...

    def finish(self, state: State, ctx: Context) -> CondensedSet:
        """The condensed set, with hard labels only."""
        ...


AnyMethod = Method[Any]
