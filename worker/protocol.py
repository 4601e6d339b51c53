"""What supervisor and child say to each other: one order in, JSON lines out, and exit codes.

The order is the first line on the child's standard input, which then stays open: its end tells the
child that the supervisor is gone. The child answers on its standard output, one object a line.
"""

import math
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from dcpi_core.spec.job import JobSpec
from dcpi_core.spec.progress import Phase
from worker.words import storable

Level = Literal["info", "warning", "error"]


def _storable(given: Any) -> Any:
    return storable(given) if isinstance(given, str) else given


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


Text = Annotated[str, BeforeValidator(_storable)]
Metrics = Annotated[dict[Text, float], AfterValidator(_finite)]
"""Only numbers that JSON has: a loss that is none any more is left out."""


class Exit(IntEnum):
    """How a child ends; any other code, or a signal, is trouble with the machine or a bug."""

    DONE = 0
    BROKEN = 1
    JOB_AT_FAULT = 2
    STOPPED = 75


class Message(BaseModel):
    """Base of everything that crosses the pipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Order(Message):
    """What any work needs, and where it is done; fields as in the pipeline's ``Workplace``."""

    spec: JobSpec
    workspace: Path
    assets: Path
    data_root: Path | None = None
    dataset_file: Path | None = None
    device: str = "auto"
    shrink: int = 0


class CondenseOrder(Order):
    """Run the pipeline of ``spec``."""

    kind: Literal["condense"] = "condense"


class VerifyOrder(Order):
    """Train students again on a bundle that ``spec`` made.

    ``bundle`` is the directory of its files as they are now, ``published_manifest`` the sha256 that
    its manifest was published with.
    """

    kind: Literal["verify"] = "verify"
    bundle: Path
    published_manifest: str
    repeats: int


AnyOrder = Annotated[CondenseOrder | VerifyOrder, Field(discriminator="kind")]

parse_order = TypeAdapter[AnyOrder](AnyOrder).validate_json
"""The line on a child's standard input as an order; raises pydantic's ValidationError."""


class ProgressLine(Message):
    """A step was made."""

    type: Literal["progress"] = "progress"
    phase: Phase
    step: int
    total_steps: int
    message: Text = ""
    metrics: Metrics = Field(default_factory=dict)


class AliveLine(Message):
    """The work asked whether to go on: it moves, though there is nothing new to report."""

    type: Literal["alive"] = "alive"


class LogLine(Message):
    """A line for the job's log."""

    type: Literal["log"] = "log"
    level: Level = "info"
    message: Text


class DoneLine(Message):
    """The work is done: here is the bundle's directory, or the record of a verification."""

    type: Literal["done"] = "done"
    made: Path


class ErrorLine(Message):
    """Why the work cannot be done; ``code`` is that of a ``DcpiError`` or ``out_of_memory``."""

    type: Literal["error"] = "error"
    code: str
    detail: Text


Line = Annotated[
    ProgressLine | AliveLine | LogLine | DoneLine | ErrorLine, Field(discriminator="type")
]

parse_line = TypeAdapter[Line](Line).validate_json
"""One line of a child's output as a message; raises pydantic's ValidationError."""
