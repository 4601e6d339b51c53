"""Device, threads and memory: the only file that decides how the machine is used.

On a CPU, independent pieces of work (the classes of one gradient-matching step, the students of an
evaluation) run side by side, one thread each: a thread that owns its data in its own cache beats
two threads that meet after every small operation. Which thread does which piece has no influence
on any result, so runs are reproducible bit for bit for a given number of threads.
"""

import ctypes
import os
import platform
import re
import resource
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from dcpi_core.spec.errors import InvalidInput

Item = TypeVar("Item")
Result = TypeVar("Result")

CPU_MICRO_BATCH = 32
"""Images per pass on a CPU: activations of a 128-channel ConvNet then stay in the cache."""
GPU_BATCH = 256
"""Images per pass on a GPU from which a job that ran out of memory is made smaller; as a rule there
is no limit, and this is the batch of most protocols."""
GRAPH_BATCHES = 8
"""Passes of as many images as fit whose graphs are in memory where a training is unrolled."""
WHOLE_SET_BATCH = 1024
"""Images per pass where a whole set is passed at once, which may be of any size."""


@dataclass(frozen=True)
class Runtime:
    """How one job uses the machine.

    Attributes:
        device: where tensors live.
        threads: CPU threads this job may use.
        micro_batch: images per forward and backward pass; gradients of a larger batch are summed.
    """

    device: torch.device
    threads: int
    micro_batch: int | None

    @classmethod
    def choose(cls, device: str = "auto", threads: int | None = None, shrink: int = 0) -> "Runtime":
        """Pick a GPU if there is one and ``device`` is "auto"; otherwise what was asked for.

        Torch's own number of threads is the default: the cores, or OMP_NUM_THREADS. Each unit of
        ``shrink`` divides the images per pass by four, for a job that ran out of memory.

        Two settings stay changed in this process: torch no longer rounds to TF32 on a GPU, and
        glibc keeps the memory that a CPU has used.

        Raises:
            InvalidInput: no such device is known, or this machine has none.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        _check_device(device)
        threads = threads or torch.get_num_threads()
        torch.set_num_threads(threads)
        # Not put back: of two calls at a time, the first to end would switch it on for the other.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        on_cpu = device == "cpu"
        if on_cpu:
            _keep_freed_memory()
        return cls(torch.device(device), threads, _micro_batch(on_cpu, shrink))

    @property
    def description(self) -> str:
        """One line for the report."""
        if self.device.type == "cuda":
            return f"float32, eager, {torch.cuda.get_device_name(self.device)}"
        return f"float32, eager, {self.threads} CPU threads, Winograd convolutions where they fit"

    @property
    def side_by_side(self) -> int:
        """How many independent pieces of work ``map`` does at the same time."""
        return self.threads if self.device.type == "cpu" else 1

    @property
    def graph_images(self) -> int:
        """Images times steps of a training whose graphs may be in memory at once."""
        return GRAPH_BATCHES * (self.micro_batch or GPU_BATCH)

    @property
    def for_whole_sets(self) -> "Runtime":
        """The same, with a limit to the images per pass where there is none."""
        return self if self.micro_batch else replace(self, micro_batch=WHOLE_SET_BATCH)

    def chunks(self, count: int) -> Iterator[slice]:
        """Slices of at most ``micro_batch`` that cover ``range(count)``.

        As few as there can be, and as equal: side by side, a short last one would leave threads
        waiting for the others.
        """
        pieces = -(-count // (self.micro_batch or max(count, 1)))
        for number in range(pieces):
            yield slice(count * number // pieces, count * (number + 1) // pieces)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """``[function(item) for item in items]``, side by side on a CPU.

        Work that is itself a piece of a larger ``map`` is not divided again.
        """
        items = list(items)
        alone = len(items) < 2 or self.side_by_side == 1 or getattr(_inside, "map", False)
        if alone:
            return [function(item) for item in items]
        with _one_thread_per_operation(), ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(lambda item: _alone(function, item), items))

    def map_alike(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """``map`` for work whose result must not depend on its company, to the last bit.

        An operation has one thread even where there is a single item. That one divides its own
        work over the threads instead, if it calls ``map``.
        """
        items = list(items)
        if len(items) != 1 or self.side_by_side == 1:
            return self.map(function, items)
        with _one_thread_per_operation():
            return [function(items[0])]


def _check_device(name: str) -> None:
    known = re.fullmatch(r"cpu|cuda(?::([0-9]{1,3}))?", name)
    if known is None:
        raise InvalidInput.at(
            "/device", f"unknown device {name!r}; there are auto, cpu, cuda and cuda:0, cuda:1, ..."
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name != "cpu" and int(known[1] or 0) >= count:
        raise InvalidInput.at(
            "/device", f"no device {name!r}: torch finds {count} CUDA devices on this machine"
        )


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor from the CPU on ``device``, without waiting for what that is busy with.

    ``tensor.to(device)`` would first let a GPU finish everything it was told so far. From pinned
    memory the copy is made in its turn, and the CPU goes on to tell it what comes next.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class Stopwatch:
    """Wall seconds and, on a GPU, seconds between events there, since it was last read.

    The latter leave out the time until the GPU begins, but not its pauses in between.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._device = runtime.device
        self._began = time.monotonic()
        self._mark = self._event()

    def read(self) -> tuple[float, float | None]:
        """(wall seconds, device seconds or None); starts anew. Waits for the GPU."""
        now, mark = time.monotonic(), self._event()
        wall, on_device = now - self._began, None
        if mark is not None and self._mark is not None:
            mark.synchronize()
            on_device = self._mark.elapsed_time(mark) / 1000
        self._began, self._mark = now, mark
        return wall, on_device

    def _event(self) -> torch.cuda.Event | None:
        if self._device.type != "cuda":
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event


def peak_memory(runtime: Runtime) -> dict[str, int]:
    """Largest memory so far, in bytes: ``host`` of this process, ``device`` on its GPU."""
    unit = 1 if platform.system() == "Darwin" else 1024  # kilobytes everywhere else
    peaks = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if runtime.device.type == "cuda":
        peaks["device"] = torch.cuda.max_memory_allocated(runtime.device)
    return peaks


def machine() -> str:
    """Processor and core count, for reports and benchmarks."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - not a real file
            name = next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    return f"{name}, {os.cpu_count()} cores"


_inside = threading.local()


def _alone(function: Callable[[Item], Result], item: Item) -> Result:
    torch.set_num_threads(1)
    _inside.map = True
    return function(item)


@contextmanager
def _one_thread_per_operation() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _micro_batch(on_cpu: bool, shrink: int) -> int | None:
    if shrink == 0 and not on_cpu:
        return None
    return max(1, (CPU_MICRO_BATCH if on_cpu else GPU_BATCH) >> 2 * shrink)


def _keep_freed_memory() -> None:
    """Stop glibc from handing every freed tensor back to the kernel.

    By default each block above 128 kB is mapped afresh and its pages are zeroed again; for a
    ConvNet on CIFAR that alone costs 40 % of the time. One arena for all threads lets each use
    what another has freed: a fifth less memory for students side by side, at the same speed.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, mmap_threshold, arena_max = -1, -3, -8
    library = ctypes.CDLL(None)
    library.mallopt(mmap_threshold, 1 << 30)
    library.mallopt(trim_threshold, (1 << 31) - 1)
    library.mallopt(arena_max, 1)
