"""From raw measurements to the arms of a report and the differences between them."""

import platform
from collections.abc import Sequence
from statistics import fmean
from typing import TypeVar

import torch

from dcpi_core import __version__
from dcpi_core.compute import Runtime, machine
from dcpi_core.evaluation.arms import ArmPlan
from dcpi_core.evaluation.measure import Measurement
from dcpi_core.rng import Streams
from dcpi_core.spec.job import JobSpec
from dcpi_core.spec.report import Arm, Difference, Environment

T = TypeVar("T")
Matrix = tuple[tuple[int, ...], ...]


def seeds_of(spec: JobSpec) -> tuple[int, ...]:
    """Seeds of the students, which follow from the job's: run i of every arm has the same one."""
    streams = Streams(spec.seed)
    return tuple(
        streams.integer("student_seed", repeat) % 2**31 for repeat in range(spec.evaluation.repeats)
    )


def build_arm(plan: ArmPlan, network: str, found: Sequence[Measurement]) -> Arm:
    """Summarise the runs of one arm and student."""
    by_class = tuple(fmean(own) for own in zip(*(m.per_class for m in found), strict=True))
    return Arm(
        name=plan.name,
        title=plan.title,
        network=network,
        num_images=plan.num_images,
        train_bytes=plan.train_bytes,
        runs=tuple(m.accuracy for m in found),
        per_class=by_class,
        worst_class=by_class.index(min(by_class)),
        worst_class_runs=tuple(min(m.per_class) for m in found),
        calibration_errors=tuple(m.calibration_error for m in found),
        confusion=_summed([m.confusion for m in found if m.confusion is not None]),
        seconds=_complete([m.seconds for m in found]),
        best_epoch_runs=_complete([m.best_accuracy for m in found]),
        best_epochs=_complete([m.best_epoch for m in found]),
    )


def _complete(values: Sequence[T | None]) -> tuple[T, ...]:
    """All of them, or none if one is missing."""
    there = tuple(value for value in values if value is not None)
    return there if len(there) == len(values) else ()


def _summed(matrices: Sequence[Matrix]) -> Matrix | None:
    """Their sum, cell by cell; None if there are none."""
    if not matrices:
        return None
    return tuple(
        tuple(sum(cells) for cells in zip(*rows, strict=True))
        for rows in zip(*matrices, strict=True)
    )


PAIRS: tuple[tuple[str, str, str], ...] = (
    ("base", "random", "what the choice or synthesis of the images is worth"),
    ("assigned", "base", "what directly assigned labels are worth"),
    ("privileged", "base", "what the labels are worth"),
    ("tuned", "base", "what tuning the images is worth without their labels"),
    ("privileged", "assigned", "what learning the labels is worth"),
    ("privileged", "tuned", "what the labels are worth beside the tuning of the images"),
    ("privileged", "random", "what the whole set is worth"),
    ("equal_steps", "base", "what as many further steps on the images are worth"),
    ("privileged", "equal_steps", "labels against further steps on the images"),
    ("equal_bytes", "base", "what more images are worth"),
    ("privileged", "equal_bytes", "labels against more images of the same bytes"),
    ("random_privileged", "random", "what labels are worth on random images"),
    ("privileged", "random_privileged", "what the images are worth once all have labels"),
    ("privileged", "permuted", "what it is worth that labels belong to their class"),
    ("noise", "assigned", "what moving the labels at random does"),
    ("privileged", "noise", "learning the labels against moving them at random as far"),
    ("base", "full", "what the images alone lose against all training images"),
    ("privileged", "full", "what the whole set loses against all training images"),
    ("privileged", "other_view", "the protocol against its other augmentation"),
    ("other_view", "random_other_view", "what the set is worth under the other augmentation"),
)
"""Which arm is compared with which, and what the difference tells."""

TELLS_OF_TUNED: dict[tuple[str, str], str] = {
    ("privileged", "base"): "what the tuned images and their labels are worth together",
    ("privileged", "assigned"): "what tuning the images and learning labels are worth together",
    ("noise", "assigned"): "what the tuned images, with labels moved at random, are worth",
    ("privileged", "equal_steps"): "tuned images and labels against further steps on the images",
    ("privileged", "equal_bytes"): "tuned images and labels against more images of the same bytes",
}
"""The same where images were tuned: the first arm has them then, and the second has not."""


def differences(arms: Sequence[Arm]) -> tuple[Difference, ...]:
    """Every comparison of ``PAIRS`` whose two arms were measured, network by network."""
    networks = dict.fromkeys(arm.network for arm in arms)
    by_key: dict[tuple[str, str], Arm] = {(arm.name, arm.network): arm for arm in arms}
    return tuple(
        Difference.between(
            by_key[name, network],
            by_key[against, network],
            TELLS_OF_TUNED.get((name, against), tells) if ("tuned", network) in by_key else tells,
        )
        for network in networks
        for name, against, tells in PAIRS
        if (name, network) in by_key and (against, network) in by_key
    )


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
