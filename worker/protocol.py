"""What supervisor and child say to each other: one order in, JSON lines out, and exit codes.

The order is the first line on the child's standard input, which then stays open: its end tells the
child that the supervisor is gone. The child answers on its standard output, one object a line.
"""

from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from dcpi_core.spec.job import JobSpec
from dcpi_core.spec.progress import Phase

OUT_OF_MEMORY = "out_of_memory"
MAX_LOG_CHARS = 8000
"""Longer log messages are cut."""

Level = Literal["info", "warning", "error"]


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
    """What to run and where; fields as in the pipeline's ``Workplace``."""

    spec: JobSpec
    workspace: Path
    assets: Path
    data_root: Path | None = None
    dataset_file: Path | None = None
    device: str = "auto"


class ProgressLine(Message):
    """A step was made."""

    type: Literal["progress"] = "progress"
    phase: Phase
    step: int
    total_steps: int
    message: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)


class AliveLine(Message):
    """The work asked whether to go on: it moves, though there is nothing new to report."""

    type: Literal["alive"] = "alive"


class LogLine(Message):
    """A line for the job's log."""

    type: Literal["log"] = "log"
    level: Level = "info"
    message: str


class DoneLine(Message):
    """The bundle is finished and lies in this directory."""

    type: Literal["done"] = "done"
    bundle: Path


class ErrorLine(Message):
    """Why the work cannot be done; ``code`` is that of a ``DcpiError`` or ``out_of_memory``."""

    type: Literal["error"] = "error"
    code: str
    detail: str
    problems: tuple[dict[str, Any], ...] = ()


Line = Annotated[
    ProgressLine | AliveLine | LogLine | DoneLine | ErrorLine, Field(discriminator="type")
]

parse_line = TypeAdapter[Line](Line).validate_json
"""One line of a child's output as a message; raises pydantic's ValidationError."""
