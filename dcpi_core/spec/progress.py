"""How running work speaks to the outside: progress events out, a stop request in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Phase(StrEnum):
    """The stages of a job, in order."""

    PREPARE = "prepare"
    BASE = "base"
    PRIVILEGED = "privileged"
    CONTROLS = "controls"
    EVALUATE = "evaluate"
    PACKAGE = "package"


@dataclass(frozen=True)
class Progress:
    """One report: ``step`` of ``total_steps`` within ``phase``, with the metrics of that step."""

    phase: Phase
    step: int
    total_steps: int
    message: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


class ProgressSink(Protocol):
    """Receives progress; must return quickly and must not raise."""

    def __call__(self, progress: Progress) -> None: ...


class StopSignal(Protocol):
    """Asked between any two steps; true once the work should stop at the next safe point."""

    def __call__(self) -> bool: ...


class Stopped(Exception):
    """Work ended early because the stop signal said so; the checkpoint on disk is current."""


def ignore_progress(progress: Progress) -> None:
    """Sink for callers that do not watch."""


def never_stop() -> bool:
    """Signal for callers that never interrupt."""
    return False
