"""Limits that a process sets on itself before it reads what others have sent."""

import resource
import signal
from pathlib import Path
from types import FrameType

GRACE_SECONDS = 2
"""Between the signal that Python turns into OutOfTime and the kernel's kill, which ends a decoder
that does not return to Python."""


class OutOfTime(BaseException):
    """The processor time is used up. Not an Exception, so that no decoder's handler eats it."""


def restrict(memory_mb: int, seconds: int) -> None:
    """Allow this process ``memory_mb`` more than it has now, and ``seconds`` of processor time.

    Too much memory raises MemoryError where it is asked for; too much time raises OutOfTime.
    """
    # Added to what is mapped already: numpy reserves address space for every core there is.
    ceiling = _mapped_bytes() + memory_mb * (1 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXCPU, _out_of_time)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + GRACE_SECONDS))


def _mapped_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _out_of_time(_signal: int, _frame: FrameType | None) -> None:
    # The kernel repeats the signal every second; one is enough.
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    raise OutOfTime
