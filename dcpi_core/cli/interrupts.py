"""What Ctrl-C does to work on this machine: it ends at the next safe point."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from dcpi_core.cli import screen
from dcpi_core.spec.progress import Stopped, StopSignal

INTERRUPTED = 130


@contextmanager
def stop_on_interrupt() -> Iterator[StopSignal]:
    """A signal that turns true on the first Ctrl-C; the second one interrupts at once."""
    asked = threading.Event()

    def ask(number: int, frame: Any) -> None:  # noqa: ARG001 - the signature of a handler
        asked.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        screen.err().print("stopping at the next safe point; Ctrl-C again to stop at once")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interruptible() -> Iterator[StopSignal]:
    """The same for work that leaves nothing to go on from: the command ends when it has stopped."""
    try:
        with stop_on_interrupt() as stop:
            yield stop
    except Stopped:
        raise typer.Exit(INTERRUPTED) from None
