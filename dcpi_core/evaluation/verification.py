"""Is a report true? Students are trained again, from the bytes of the bundle alone."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dcpi_core.bundle.checks import Check, verify
from dcpi_core.bundle.reader import Bundle, load
from dcpi_core.bundle.source import open_source
from dcpi_core.checkpoint import load_tensors, save_tensors
from dcpi_core.code import code_digest
from dcpi_core.compute import Runtime
from dcpi_core.condensed import CondensedSet
from dcpi_core.datasets.base import Split
from dcpi_core.evaluation.claims import claims_of
from dcpi_core.evaluation.measure import evaluate_on
from dcpi_core.evaluation.reporting import environment
from dcpi_core.rng import Streams
from dcpi_core.spec.errors import BundleError, CheckpointError, InvalidInput, OutdatedCheckpoint
from dcpi_core.spec.manifest import MANIFEST_NAME
from dcpi_core.spec.progress import (
    Phase,
    Progress,
    ProgressSink,
    Stopped,
    StopSignal,
    ignore_progress,
    never_stop,
)
from dcpi_core.spec.verification import ArmVerification, FailedCheck, Verification
from dcpi_core.training import OnStep, Recipe, fit


@dataclass(frozen=True)
class Watch:
    """Who is told how far a verification is, and may end it.

    Attributes:
        kept: a file for the accuracies measured so far; where it is there already, it is gone on
            from.
    """

    progress: ProgressSink = ignore_progress
    stop: StopSignal = never_stop
    kept: Path | None = None


def retrain(
    bundle: Bundle,
    test: Split,
    seeds: Sequence[int],
    network: str | None = None,
    device: str = "auto",
    watch: Watch | None = None,
) -> tuple[float, ...]:
    """Test accuracies in [0, 1] of students trained by the bundle's recipe, one for each seed.

    Args:
        bundle: as read from its files; nothing else is trained on.
        test: the source's test split.
        seeds: run i of the report has the i-th of ``bundle.report.seeds``.
        network: name of the students' architecture; default: that of the recipe.
        watch: who is told of each student, and may end it.

    Raises:
        Stopped: ``watch.stop`` asked for it.
        TrainingDiverged: a loss became NaN or infinite.
    """
    students = [_Student(network, bundle.condensed, bundle.recipe, seed) for seed in seeds]
    notes = _Notes(
        watch or Watch(),
        f"{bundle.manifest.id}/{network}/{seeds}",
        [f"seed {seed}" for seed in seeds],
    )
    return tuple(_Retraining(bundle, test, Runtime.choose(device)).of(students, notes))


class _Student(NamedTuple):
    """Who is trained again: an architecture by name or that of the recipe, on what, and how."""

    network: str | None
    training_set: CondensedSet
    recipe: Recipe
    seed: int


@dataclass(frozen=True)
class _Retraining:
    """Students trained one group after the other, as a pipeline's evaluation trains them."""

    bundle: Bundle
    test: Split
    runtime: Runtime

    def of(self, students: Sequence[_Student], notes: "_Notes") -> list[float]:
        """Test accuracies in [0, 1], one for each student, going on from those that are noted."""
        on_step, runs = partial(_stop_if_asked, notes.watch.stop), notes.kept()
        while len(runs) < len(students):
            notes.tell(runs)
            group = students[len(runs) : len(runs) + self.runtime.side_by_side]
            runs += self.runtime.map_alike(partial(self._accuracy, on_step), group)
        notes.tell(runs)
        return runs

    def _accuracy(self, on_step: OnStep, given: _Student) -> float:
        student = self.bundle.build_network(given.network, given.seed)
        fit(
            student,
            given.training_set,
            given.recipe,
            streams=Streams(given.seed),
            runtime=self.runtime,
            on_step=on_step,
        )
        return evaluate_on(self.test, student, self.bundle.spec.dataset, self.runtime).accuracy


def verify_by_training(
    path: str | Path,
    bundle: Bundle,
    test: Split,
    repeats: int | None = None,
    runtime: Runtime | None = None,
    watch: Watch | None = None,
) -> Verification:
    """Train students again on every arm that the bundle holds, and compare with the report.

    Args:
        path: where ``bundle`` was read from.
        bundle: as read from its files; nothing else is trained on.
        test: the source's test split.
        repeats: how many of the report's students of each arm; default: all.
        runtime: where to compute; chosen automatically by default.
        watch: who is told, and may end it.

    Raises:
        BundleError: the report claims nothing that could be measured again.
        InvalidInput: ``repeats`` is more than the report has runs.
        Stopped: ``watch.stop`` asked for it.
        TrainingDiverged: a loss became NaN or infinite.
    """
    report = bundle.report
    claims, unverified = claims_of(bundle)
    if not claims:
        raise BundleError("the report has no accuracy of the bundle to compare with")
    if repeats is not None and not 1 <= repeats <= len(report.seeds):
        most = len(report.seeds)
        raise InvalidInput.at(
            "/repeats", f"repeats must be 1 to {most}, the runs of the report: {repeats}"
        )
    runtime, seeds = runtime or Runtime.choose(), report.seeds[:repeats]
    students = [
        _Student(claim.arm.network, claim.training_set, claim.recipe, seed)
        for claim in claims
        for seed in seeds
    ]
    titles = [claim.arm.title for claim in claims for _ in seeds]
    notes = _Notes(watch or Watch(), f"{manifest_digest(path)}/{len(seeds)}", titles)
    runs = _Retraining(bundle, test, runtime).of(students, notes)
    arms = [
        ArmVerification.of(claim.arm, tuple(runs[position * len(seeds) :][: len(seeds)]))
        for position, claim in enumerate(claims)
    ]
    reproduced = all(arm.verdict == "reproduced" for arm in arms)
    return Verification(
        bundle=bundle.manifest.id,
        manifest_sha256=manifest_digest(path),
        created_at=_now(),
        environment=environment(runtime),
        protocol=report.protocol,
        epochs=report.epochs,
        seeds=seeds,
        arms=tuple(arms),
        unverified=tuple(unverified),
        verdict="reproduced" if reproduced else "not reproduced",
    )


@dataclass(frozen=True)
class _Notes:
    """Who is told of each student by its title, and what is kept for a later try."""

    watch: Watch
    identity: str
    titles: Sequence[str]

    def tell(self, runs: Sequence[float]) -> None:
        """Keep what was measured so far, and say what comes next."""
        if runs and self.watch.kept is not None:
            values = {"verification": self.identity, "code": code_digest(), "runs": list(runs)}
            save_tensors(self.watch.kept, {}, values)
        done, total = len(runs), len(self.titles)
        message = self.titles[done] if done < total else "students compared"
        self.watch.progress(Progress(Phase.EVALUATE, done, total, message))

    def kept(self) -> list[float]:
        """What an earlier try has measured."""
        if self.watch.kept is None or not self.watch.kept.exists():
            return []
        _, values = load_tensors(self.watch.kept)
        if values.get("verification") != self.identity:
            raise CheckpointError(f"{self.watch.kept.name} belongs to another verification")
        if values.get("code") != code_digest():
            raise OutdatedCheckpoint(f"{self.watch.kept.name} was left by other code")
        return list(values["runs"])


def _stop_if_asked(stop: StopSignal, _step: int, _total: int) -> None:
    if stop():
        raise Stopped


def verify_published(
    path: Path,
    published_manifest: str,
    read_test: Callable[[Bundle], Split],
    repeats: int,
    runtime: Runtime,
    watch: Watch,
) -> Verification:
    """Check every file of a bundle that was published, and if all are whole, train on it.

    Args:
        path: the bundle's directory or zip.
        published_manifest: sha256 that its manifest had when it was published.
        read_test: the source's test split; asked for only if there is something to train on.
        repeats: students of each arm.
        runtime: where to compute.
        watch: who is told, and may end it.

    Raises:
        What ``verify_by_training`` raises.
    """
    failed = [check for check in verify(path) if not check.passed] or _replaced(
        path, published_manifest
    )
    if failed:
        return _damaged(failed, runtime)
    bundle = load(path)
    return verify_by_training(path, bundle, read_test(bundle), repeats, runtime, watch)


def _replaced(path: Path, published_manifest: str) -> list[Check]:
    """A bundle may agree with itself and yet be another one than was published."""
    found = manifest_digest(path)
    if found == published_manifest:
        return []
    detail = f"is not the published one: sha256 {found[:12]}..., not {published_manifest[:12]}..."
    return [Check(MANIFEST_NAME, passed=False, detail=f"{MANIFEST_NAME} {detail}")]


def _damaged(failed: Sequence[Check], runtime: Runtime) -> Verification:
    checks = [FailedCheck(name=check.name, detail=check.detail) for check in failed]
    return Verification(
        bundle=None,
        manifest_sha256=None,
        created_at=_now(),
        environment=environment(runtime),
        failed_checks=tuple(checks),
        verdict="damaged",
    )


def manifest_digest(path: str | Path) -> str:
    """sha256 of a bundle's manifest."""
    with open_source(path) as source:
        return hashlib.sha256(source.read(MANIFEST_NAME)).hexdigest()


def record_path(bundle: Path) -> Path:
    """Where the record of a bundle lies: beside it, since nothing inside it may change."""
    whole = bundle.expanduser().resolve()
    return whole.with_name(f"{whole.name}.verification.json")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
