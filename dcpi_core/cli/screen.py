"""Where output goes: results to standard output, everything else to standard error. No torch."""

import json
import sys
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeRemainingColumn as Remaining

from dcpi_core.spec.errors import DcpiError
from dcpi_core.spec.progress import Progress as Step


def out() -> Console:
    """Standard output; made afresh, since tests and shells redirect it.

    Where it is no terminal there is no width to keep to, and no table cell should be cut.
    """
    return Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 160)


def err() -> Console:
    """Standard error."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_error(error: DcpiError) -> None:
    """One line, then the fields that are to blame and what was noted about it.

    A service's answer is noted with its request id, by which its operator finds it in the logs.
    """
    console = err()
    console.print(f"error: {error.detail}", style="red", markup=False)
    for problem in error.problems:
        told = len(error.problems) == 1 and problem.message in error.detail
        line = f"at {problem.pointer}" if told else f"{problem.pointer}: {problem.message}"
        if problem.pointer:
            console.print(f"  {line}", markup=False)
    for note in getattr(error, "__notes__", ()):
        console.print(f"  {note}", markup=False)


class PhaseBars:
    """One progress bar per phase on a terminal; elsewhere a line per tenth of a phase."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = err()
        self._live = self._console.is_terminal and not quiet
        self._quiet = quiet
        self._bars = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            Remaining(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._logged: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def show(self, phase: str, step: int, total: int, note: str = "") -> None:
        """``step`` of ``total`` of a phase is done."""
        if phase not in self._tasks:
            self._tasks[phase] = self._bars.add_task(phase, total=total, note=note)
        if not (self._live or self._quiet):
            self._log(phase, step, total, note)
        self._bars.update(self._tasks[phase], completed=step, total=total, note=note)

    def _log(self, phase: str, step: int, total: int, note: str) -> None:
        tenth = 10 * step // max(total, 1)
        if self._logged.get(phase) != tenth:
            self._logged[phase] = tenth
            self._console.print(f"{phase} {step}/{total} {note}".rstrip(), markup=False)

    def __call__(self, progress: Step) -> None:
        """As a sink of the pipeline."""
        figures = [f"{name} {value:.4g}" for name, value in progress.metrics.items()]
        note = ", ".join([progress.message, *figures] if progress.message else figures)
        self.show(progress.phase.value, progress.step, progress.total_steps, note)
