"""The child process: does the work of one job and tells its supervisor how it goes.

Started as ``python -m worker.runner``; ``worker.protocol`` describes what goes in and out. It owns
the GPU for as long as it lives, knows nothing of SQL, queues or object storage, and holds no keys.
This is the only file of the worker that loads torch.
"""

import contextlib
import faulthandler
import logging
import os
import resource
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import torch

from dcpi_core.compute import Runtime
from dcpi_core.evaluation.verification import Watch, verify_published
from dcpi_core.pipeline import CHECKPOINT, Workplace, read_source, run
from dcpi_core.spec.errors import OUT_OF_MEMORY, DcpiError
from dcpi_core.spec.progress import Progress, ProgressSink, Stopped
from worker.protocol import (
    AliveLine,
    AnyOrder,
    DoneLine,
    ErrorLine,
    Exit,
    Level,
    LogLine,
    Message,
    ProgressLine,
    VerifyOrder,
    parse_order,
)

ALIVE_SECONDS = 2.0
WANT_OF_MEMORY = ("can't allocate memory", "out of memory", "_ALLOC_FAILED", "_ALLOCATION_FAILED")
"""What the CPU's allocator, the CUDA runtime, and cuBLAS, cuDNN, cuSOLVER and cuFFT say of it."""


class Voice:
    """The way to the supervisor; lines of several threads do not mix."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    @classmethod
    def take_stdout(cls) -> "Voice":
        """Keep standard output for messages; whatever else is printed goes to standard error."""
        private = os.dup(sys.stdout.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        return cls(os.fdopen(private, "wb", buffering=0))

    def say(self, message: Message) -> None:
        """Send one line. A supervisor that is gone is noticed elsewhere, so that is no error."""
        line = message.model_dump_json().encode() + b"\n"
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._stream.write(line)


class StopFlag:
    """Set by SIGTERM; being asked is also the proof that the work moves."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self._raised = False
        self._said = time.monotonic()

    def watch_signal(self) -> None:
        """Stop at the next safe point when SIGTERM comes."""
        signal.signal(signal.SIGTERM, lambda *_: self.set())

    def set(self) -> None:
        self._raised = True

    def __call__(self) -> bool:
        now = time.monotonic()
        if now - self._said >= ALIVE_SECONDS:
            self._said = now
            self._voice.say(AliveLine())
        return self._raised


class LogToSupervisor(logging.Handler):
    """Hands log records to the supervisor, for the job's event list."""

    def __init__(self, voice: Voice) -> None:
        super().__init__(logging.INFO)
        self._voice = voice

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = LogLine(level=_level(record), message=record.getMessage())
        except Exception:  # noqa: BLE001 - a record that cannot be told must not end the work
            self.handleError(record)
        else:
            self._voice.say(line)


def _level(record: logging.LogRecord) -> Level:
    if record.levelno >= logging.ERROR:
        return "error"
    return "warning" if record.levelno >= logging.WARNING else "info"


def main() -> int:
    """Read the order, run it, and return the exit code."""
    faulthandler.enable()  # SIGABRT from the supervisor then shows where a stalled job stands
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    voice = Voice.take_stdout()
    stop = StopFlag(voice)
    stop.watch_signal()
    core = logging.getLogger("dcpi_core")
    core.setLevel(logging.INFO)
    core.addHandler(LogToSupervisor(voice))
    # Unbuffered: a thread that waits inside a buffered reader would abort the interpreter's exit.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as stdin:
        order = parse_order(stdin.readline())
    threading.Thread(target=_die_with_supervisor, daemon=True).start()
    return execute(order, voice, stop)


def execute(order: AnyOrder, voice: Voice, stop: StopFlag) -> Exit:
    """Do the work and turn its outcome into a last line and an exit code."""

    def report(progress: Progress) -> None:
        voice.say(ProgressLine.model_validate(asdict(progress)))

    try:
        made = _work(order, report, stop)
    except Stopped:
        return Exit.STOPPED
    except DcpiError as error:
        voice.say(ErrorLine(code=error.code, detail=error.detail))
        return Exit.JOB_AT_FAULT
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        voice.say(ErrorLine(code=OUT_OF_MEMORY, detail=_memory_advice(error)))
        return Exit.JOB_AT_FAULT
    voice.say(DoneLine(made=made))
    return Exit.DONE


def _work(order: AnyOrder, report: ProgressSink, stop: StopFlag) -> Path:
    place = Workplace(order.workspace, order.assets, order.data_root, order.dataset_file)
    if isinstance(order, VerifyOrder):
        return _verify(order, place, Watch(report, stop, order.workspace / CHECKPOINT))
    return run(
        order.spec, place, progress=report, stop=stop, device=order.device, shrink=order.shrink
    )


def _verify(order: VerifyOrder, place: Workplace, watch: Watch) -> Path:
    found = verify_published(
        order.bundle,
        order.published_manifest,
        lambda bundle: read_source(bundle.spec, place).test,
        order.repeats,
        Runtime.choose(order.device, shrink=order.shrink),
        watch,
    )
    record = order.workspace / "verification.json"
    record.write_text(found.model_dump_json(), encoding="utf-8")
    return record


def _is_out_of_memory(error: Exception) -> bool:
    # Only torch's own allocator of GPU memory has a class for it. That of the CPU, the CUDA runtime
    # and its libraries make a RuntimeError, told from others by its text only.
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or any(text in str(error) for text in WANT_OF_MEMORY)


def _memory_advice(error: Exception) -> str:
    reason = (str(error).splitlines() or [""])[0] or "no memory left"
    return f"the job needs more memory than its worker has ({reason}); a smaller batch needs less"


def _die_with_supervisor() -> None:
    """End at once when the supervisor is gone, even by kill -9: the pipe then closes."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(Exit.BROKEN)


if __name__ == "__main__":
    sys.exit(main())
