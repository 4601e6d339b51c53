"""From raw measurements to the report."""

import platform
from collections.abc import Sequence
from statistics import fmean

import torch

from dcpi_core import __version__
from dcpi_core.compute import Runtime, machine
from dcpi_core.evaluation.arms import ArmPlan
from dcpi_core.evaluation.measure import Measurement
from dcpi_core.rng import Streams
from dcpi_core.spec.job import JobSpec
from dcpi_core.spec.report import Arm, ByteCount, Difference, Environment, Report


def seeds_of(spec: JobSpec) -> tuple[int, ...]:
    """Seeds of the students: run i of every arm has the same seed, no two jobs share one."""
    streams = Streams(spec.seed)
    return tuple(
        streams.integer("student_seed", repeat) % 2**31 for repeat in range(spec.evaluation.repeats)
    )


def build_arm(
    plan: ArmPlan, network: str, found: Sequence[Measurement], train_bytes: int, spec: JobSpec
) -> Arm:
    """Summarise the runs of one arm and student."""
    return Arm(
        name=plan.name,
        title=plan.title,
        network=network,
        num_images=spec.num_images,
        train_bytes=train_bytes,
        runs=tuple(m.accuracy for m in found),
        per_class=tuple(
            fmean(values) for values in zip(*(m.per_class for m in found), strict=True)
        ),
    )


def differences(arms: Sequence[Arm]) -> tuple[Difference, ...]:
    """Every arm against random images, and everything with labels against the base alone."""
    pairs = (
        ("base", "random"),
        ("assigned", "base"),
        ("privileged", "base"),
        ("tuned", "base"),
        ("privileged", "assigned"),
        ("privileged", "tuned"),
        ("privileged", "random"),
    )
    networks = dict.fromkeys(arm.network for arm in arms)
    by_key: dict[tuple[str, str], Arm] = {(arm.name, arm.network): arm for arm in arms}
    return tuple(
        Difference.between(by_key[name, network], by_key[against, network])
        for network in networks
        for name, against in pairs
        if (name, network) in by_key and (against, network) in by_key
    )


def random_bytes(spec: JobSpec) -> int:
    """Bytes of as many images as float32 with their labels: the random arm is stored alike."""
    return spec.num_images * (4 * spec.dataset.image_bytes + 8)


def environment(runtime: Runtime) -> Environment:
    """Where this is being measured."""
    return Environment(
        dcpi=__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        machine=machine(),
        device=str(runtime.device),
        threads=runtime.threads,
        engine=runtime.description,
    )


def build_report(
    spec: JobSpec,
    arms: Sequence[Arm],
    size: ByteCount,
    seconds: dict[str, float],
    metrics: dict[str, float],
    runtime: Runtime,
) -> Report:
    """The complete report of a job."""
    return Report(
        protocol=spec.evaluation.protocol,
        epochs=spec.evaluation.epochs,
        seeds=seeds_of(spec),
        num_test=spec.dataset.num_test,
        arms=tuple(arms),
        differences=differences(arms),
        bytes=size,
        seconds={name: round(value, 3) for name, value in seconds.items()},
        metrics=metrics,
        environment=environment(runtime),
    )
