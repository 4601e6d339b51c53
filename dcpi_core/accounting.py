"""What a job costs, counted while it runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from dcpi_core.compute import Runtime, Stopwatch, peak_memory
from dcpi_core.memory import Memory
from dcpi_core.real_training import TrainingPlan
from dcpi_core.spec.progress import Phase
from dcpi_core.spec.report import Arm, Cost, shipped_arm

CONDENSING = (Phase.PREPARE, Phase.BASE, Phase.PRIVILEGED)
"""The phases that make the shipped set."""


class Accounts:
    """Books time and memory into a job's memory, so that a resumed job goes on counting."""

    def __init__(self, memory: Memory, runtime: Runtime) -> None:
        self.memory, self.runtime = memory, runtime
        self.watch = Stopwatch(runtime)

    def book(self) -> None:
        """Count everything since the last booking for the present phase."""
        memory, phase = self.memory, self.memory.phase.value
        wall, on_device = self.watch.read()
        memory.seconds[phase] = memory.seconds.get(phase, 0.0) + wall
        if on_device is not None:
            memory.device_seconds[phase] = memory.device_seconds.get(phase, 0.0) + on_device
        for name, size in peak_memory(self.runtime).items():
            memory.peaks[name] = max(size, memory.peaks.get(name, 0))


@dataclass(frozen=True)
class Timing:
    """A training on the whole data: how much of it this job did itself, and how long it took."""

    plan: TrainingPlan
    steps: int
    seconds: float


def found_trained(timings: Sequence[Timing], num_images: int) -> int:
    """How many of these were made before, in part or whole, so their training time is unknown."""
    return sum(
        own.steps < own.plan.total_epochs(num_images) * own.plan.steps_per_epoch(num_images)
        for own in timings
    )


def full_epoch_seconds(timings: Sequence[Timing], num_images: int) -> float | None:
    """Mean wall seconds of an epoch on the whole training data.

    None unless every training was done here from its first step to its last.
    """
    if not timings or found_trained(timings, num_images):
        return None
    epochs = sum(timing.plan.total_epochs(num_images) for timing in timings)
    return sum(timing.seconds for timing in timings) / epochs


def break_even(making: float, arms: Sequence[Arm]) -> float | None:
    """Trainings on the shipped set, in place of all images, that save the seconds of making it.

    By the mean times of the report's first student; None without the arm ``full``, without its
    times, or if it was no slower.
    """
    own = [arm for arm in arms if arm.network == arms[0].network]
    times = {arm.name: fmean(arm.seconds) for arm in own if arm.seconds}
    shipped = shipped_arm(own)
    if "full" not in times or shipped is None or shipped.name not in times:
        return None
    saved = times["full"] - times[shipped.name]
    return making / saved if saved > 0 else None


def cost_of(memory: Memory, arms: Sequence[Arm] = ()) -> Cost:
    """The cost section of the report of a finished job with these arms."""
    epoch = memory.full_epoch_seconds
    making = sum(memory.seconds.get(phase.value, 0.0) for phase in CONDENSING)
    return Cost(
        device_seconds=memory.device_seconds,
        peak_memory_bytes=memory.peaks.get("host", 0),
        peak_device_memory_bytes=memory.peaks.get("device"),
        full_epoch_seconds=epoch,
        full_epochs=making / epoch if epoch else None,
        break_even_students=None if memory.networks_found else break_even(making, arms),
    )
