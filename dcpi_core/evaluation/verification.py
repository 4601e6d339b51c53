"""Is a report true? Students are trained again, from the bytes of the bundle alone."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from dcpi_core.bundle.describe import full_arm
from dcpi_core.bundle.reader import Bundle
from dcpi_core.bundle.source import open_source
from dcpi_core.compute import Runtime
from dcpi_core.datasets.base import Split
from dcpi_core.evaluation.reporting import environment
from dcpi_core.spec.errors import BundleError, InvalidInput
from dcpi_core.spec.manifest import MANIFEST_NAME
from dcpi_core.spec.verification import Verification, tolerance_of, verdict_of

OnStudent = Callable[[int, int, int | None], None]
"""Called with (students done, students in all, seed of the next; None at the end)."""


def _tell_nobody(done: int, total: int, seed: int | None) -> None:
    pass


def retrain(
    bundle: Bundle,
    test: Split,
    seeds: Sequence[int],
    network: str | None = None,
    device: str = "auto",
    on_student: OnStudent = _tell_nobody,
) -> tuple[float, ...]:
    """Test accuracies in [0, 1] of students trained by the bundle's recipe, one for each seed.

    Args:
        bundle: as read from its files; nothing else is trained on.
        test: the source's test split.
        seeds: run i of the report has the i-th of ``bundle.report.seeds``.
        network: name of the students' architecture; default: that of the recipe.
    """
    runs: list[float] = []
    for seed in seeds:
        on_student(len(runs), len(seeds), seed)
        student = bundle.fit(bundle.build_network(network, seed=seed), seed=seed, device=device)
        runs.append(bundle.evaluate(student, test, device))
    on_student(len(runs), len(seeds), None)
    return tuple(runs)


def verify_by_training(
    path: str | Path,
    bundle: Bundle,
    test: Split,
    repeats: int | None = None,
    device: str = "auto",
    on_student: OnStudent = _tell_nobody,
) -> Verification:
    """Train students again and compare their mean with the reported one.

    Args:
        path: where ``bundle`` was read from.
        repeats: how many of the report's students; default: all.

    Raises:
        BundleError: the report has no accuracy to compare with.
        InvalidInput: ``repeats`` is more than the report has runs.
    """
    recipe, report = bundle.manifest.recipe, bundle.report
    arm = full_arm(report, recipe.network.name)
    if arm is None:
        raise BundleError(f"the report has no accuracy of {recipe.network.name} to compare with")
    if repeats is not None and not 1 <= repeats <= arm.n:
        raise InvalidInput(f"repeats must be 1 to {arm.n}, the runs of the report: {repeats}")
    seeds, reported = report.seeds[:repeats], arm.runs
    measured = retrain(bundle, test, seeds, device=device, on_student=on_student)
    return Verification(
        bundle=bundle.manifest.id,
        manifest_sha256=manifest_digest(path),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=environment(Runtime.choose(device)),
        protocol=recipe.protocol,
        epochs=recipe.epochs,
        network=recipe.network.name,
        seeds=seeds,
        reported=reported,
        measured=measured,
        difference=fmean(measured) - fmean(reported),
        tolerance=tolerance_of(reported, measured),
        verdict=verdict_of(reported, measured),
    )


def manifest_digest(path: str | Path) -> str:
    """sha256 of a bundle's manifest."""
    with open_source(path) as source:
        return hashlib.sha256(source.read(MANIFEST_NAME)).hexdigest()


def record_path(bundle: Path) -> Path:
    """Where the record of a bundle lies: beside it, since nothing inside it may change."""
    whole = bundle.expanduser().resolve()
    return whole.with_name(f"{whole.name}.verification.json")
