"""A whole job: prepare > base > privileged > controls > evaluate > package.

The pipeline owns the loop, the progress reports and the checkpoints. Everything it knows is in one
file, ``checkpoint.safetensors``, replaced atomically; a run that finds one continues from it and
ends, on a CPU, with the same tensors bit for bit as a run that was never interrupted.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from reprlib import repr as shortened
from statistics import fmean
from typing import Any

from dcpi_core import bundle
from dcpi_core.accounting import Accounts, Timing, found_trained, full_epoch_seconds
from dcpi_core.base_sets import BaseSet, BaseSets
from dcpi_core.compute import Runtime
from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context, Metrics
from dcpi_core.datasets import load as load_dataset
from dcpi_core.datasets import load_prepared
from dcpi_core.datasets.base import ImageDataset
from dcpi_core.evaluation.arms import ArmPlan, Ingredients, plan_arms
from dcpi_core.evaluation.controls import ControlPlan, plan_controls, plan_makings
from dcpi_core.evaluation.gradient_alignment import gradient_alignment
from dcpi_core.evaluation.label_statistics import job_statistics
from dcpi_core.evaluation.protocols import Recipes, recipe_of
from dcpi_core.evaluation.remembered import Measurements
from dcpi_core.evaluation.reporting import seeds_of
from dcpi_core.evaluation.selection import describe_selection, neighbour_images
from dcpi_core.evaluation.students import Classroom, Student
from dcpi_core.findings import report_of
from dcpi_core.memory import Memory, StateTypes, load_memory, save_memory
from dcpi_core.methods.base import AnyMethod
from dcpi_core.prepared import Assets
from dcpi_core.privileged.base import AnyPrivilegedType
from dcpi_core.real_training import TrainingPlan
from dcpi_core.registry import METHODS, PRIVILEGED_TYPES, Registry
from dcpi_core.rng import Streams
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.errors import DatasetUnavailable, InvalidInput, TrainingDiverged
from dcpi_core.spec.job import Component, JobSpec
from dcpi_core.spec.progress import (
    Phase,
    Progress,
    ProgressSink,
    Stopped,
    StopSignal,
    ignore_progress,
    never_stop,
)

CHECKPOINT = "checkpoint.safetensors"
BUNDLE = "bundle"
"""With the checkpoint, all that a run leaves in its workspace."""
CHECKPOINT_SECONDS = 5.0
CHECKPOINT_SHARE = 0.05
"""Of a job's time at most: large checkpoints are written less often."""
PROGRESS_SECONDS = 0.25


@dataclass(frozen=True, init=False)
class Workplace:
    """Where a job reads and writes; paths may be given as strings.

    Attributes:
        workspace: the job's own directory; its checkpoint and finished bundle end up here.
        assets: prepared assets, shared by all jobs of a machine.
        data_root: local copies of published datasets.
        dataset_file: canonical file of an uploaded dataset, if the job is about one.
        source: the dataset itself, if it is in memory.
    """

    workspace: Path
    assets: Path
    data_root: Path | None
    dataset_file: Path | None
    source: ImageDataset | None

    def __init__(
        self,
        workspace: str | Path,
        assets: str | Path,
        data_root: str | Path | None = None,
        dataset_file: str | Path | None = None,
        source: ImageDataset | None = None,
    ) -> None:
        paths: dict[str, str | Path | None] = {
            "workspace": workspace,
            "assets": assets,
            "data_root": data_root,
            "dataset_file": dataset_file,
        }
        for name, path in paths.items():
            object.__setattr__(self, name, None if path is None else Path(path))
        object.__setattr__(self, "source", source)


def run(
    spec: JobSpec,
    place: Workplace,
    *,
    progress: ProgressSink = ignore_progress,
    stop: StopSignal = never_stop,
    device: str = "auto",
    shrink: int = 0,
) -> Path:
    """Run a job, continuing from its checkpoint if there is one; returns the bundle's directory.

    With ``shrink`` images pass the networks in smaller pieces, a quarter as many for each unit.
    That needs less memory and more time; sums are then rounded differently, as on another machine.

    Raises:
        Stopped: ``stop`` asked for it; the checkpoint holds everything done so far.
        DatasetUnavailable: this machine does not have the dataset; says how to provide it.
        CheckpointError: the checkpoint belongs to another job.
        OutdatedCheckpoint: it was left by other code.
        TrainingDiverged: a loss became NaN or infinite.
    """
    return _Job(spec, place, Runtime.choose(device, shrink=shrink), progress, stop).run()


class _Job:
    def __init__(
        self,
        spec: JobSpec,
        place: Workplace,
        runtime: Runtime,
        progress: ProgressSink,
        stop: StopSignal,
    ) -> None:
        self.spec, self.place, self.runtime, self.stop = spec, place, runtime, stop
        self.method: AnyMethod = _instance(METHODS, spec.base_method)
        self.types: list[AnyPrivilegedType] = [
            _instance(PRIVILEGED_TYPES, component) for component in spec.privileged
        ]
        self.reporter = _Reporter(progress)
        self.saved_at = time.monotonic()
        self.save_seconds = 0.0  # what the last checkpoint took
        self.prepared_steps = 0
        self.memory = self._load()
        self.accounts = Accounts(self.memory, runtime)

    @property
    def base_sets(self) -> BaseSets:
        return BaseSets(self.place.assets)

    @cached_property
    def source(self) -> ImageDataset:
        """The dataset; only the evaluation looks at its test split."""
        return read_source(self.spec, self.place)

    @cached_property
    def ctx(self) -> Context:
        spec, source = self.spec, self.source
        return Context(
            train=source.train,
            facts=source.facts,
            images_per_class=spec.images_per_class,
            network=spec.network,
            streams=Streams(spec.seed),
            runtime=self.runtime,
            assets=Assets(self.place.assets),
            on_prepare=self._on_prepare,
        )

    def run(self) -> Path:
        phases: dict[Phase, Callable[[], None]] = {
            Phase.PREPARE: self._prepare,
            Phase.BASE: self._base,
            Phase.PRIVILEGED: self._privileged,
            Phase.CONTROLS: self._controls,
            Phase.EVALUATE: self._evaluate,
        }
        order = list(phases)
        while self.memory.phase in phases:
            phase = self.memory.phase
            try:
                phases[phase]()
            except Stopped:  # between steps, never inside one: what is done stays done
                self.accounts.book()
                self._save()
                raise
            self.accounts.book()
            later = order[order.index(phase) + 1 :]
            self.memory.phase = later[0] if later else Phase.PACKAGE
            self.memory.component, self.memory.step, self.memory.partial = 0, 0, None
            self._save()
        return self._package()

    def _prepare(self) -> None:
        timings: list[Timing] = []
        accuracies: dict[str, list[float]] = {}
        for plan, asker in self._plans().items():
            began, before = time.monotonic(), self.prepared_steps
            trained = self.ctx.trained_network(plan)
            done, seconds = self.prepared_steps - before, time.monotonic() - began
            timings.append(Timing(plan, done, seconds))
            accuracies.setdefault(asker, []).append(trained.train_accuracy)
        for asker, found in accuracies.items():
            self.memory.metrics[f"{asker}_networks_train_accuracy"] = fmean(found)
        self.memory.networks_found = found_trained(timings, len(self.ctx.train))
        self.memory.full_epoch_seconds = full_epoch_seconds(timings, len(self.ctx.train))

    def _plans(self) -> dict[TrainingPlan, str]:
        """Networks that must be trained first, each once, with the component that asks first."""
        plans = dict.fromkeys(self.method.needs(self.ctx), self.spec.base_method.name)
        for kind, component in zip(self.types, self.spec.privileged, strict=True):
            for plan in kind.needs(self.ctx):
                plans.setdefault(plan, component.name)
        return plans

    def _base(self) -> None:
        method, memory, ctx = self.method, self.memory, self.ctx
        if memory.partial is None:
            if self._reuse_base():
                return
            memory.partial = method.init(ctx)
        total = method.total_steps(ctx)
        while memory.step < total:
            metrics = method.step(memory.partial, memory.step, ctx)
            self._after_step(Phase.BASE, total, metrics, self.spec.base_method.name)
        memory.sets["base"] = method.finish(memory.partial, ctx)
        if self._goes_on_from_base:
            memory.base_state = memory.partial
        self.accounts.book()
        phase = Phase.BASE.value
        made = BaseSet(memory.sets["base"], memory.seconds[phase], memory.device_seconds.get(phase))
        self.base_sets.keep(made, self.spec.base_method, ctx)

    @property
    def _goes_on_from_base(self) -> bool:
        """Whether a control needs the base method's last state, which a finished set has not."""
        return "equal_steps" in self.spec.evaluation.controls

    def _reuse_base(self) -> bool:
        """Take the base set of an earlier job with the same base, if there is one."""
        memory, name, phase = self.memory, self.spec.base_method.name, Phase.BASE.value
        found = self.base_sets.find(self.spec.base_method, self.ctx)
        if found is None or self._goes_on_from_base:
            return False
        memory.sets["base"], memory.base_reused = found.condensed, True
        self.accounts.book()  # what finding it took: the report tells what making it took
        memory.seconds[phase] = found.seconds
        if found.device_seconds is not None:
            memory.device_seconds[phase] = found.device_seconds
        total = self.method.total_steps(self.ctx)
        self.reporter(Progress(Phase.BASE, total, total, f"{name}, made by an earlier job"))
        return True

    def _privileged(self) -> None:
        memory, base, ctx = self.memory, self.memory.sets["base"], self.ctx
        for position in range(memory.component, len(self.types)):
            kind, name = self.types[position], self.spec.privileged[position].name
            images = memory.sets.get("tuned", base)
            seen = images.as_seen()
            if memory.partial is None:
                memory.partial = kind.init(seen, ctx)
            total = kind.total_steps(ctx)
            while memory.step < total:
                metrics = kind.step(memory.partial, seen, memory.step, ctx)
                self._after_step(Phase.PRIVILEGED, total, metrics, name)
            made = kind.finish(memory.partial)
            memory.metrics |= {f"{name}_{key}": value for key, value in made.metrics.items()}
            start = kind.assigned(memory.partial) if total else made.labels
            on_base = memory.partial if images is base else kind.init(base.as_seen(), ctx)
            if made.images is not None:
                images = CondensedSet(made.images, base.labels)
                memory.sets["tuned"] = images
            self._attach("enriched", images, made.labels)
            self._attach("start", images, start)
            self._attach("assigned", base, kind.assigned(on_base))
            memory.component, memory.step, memory.partial = position + 1, 0, None
            self._save()

    def _attach(self, name: str, base: CondensedSet, labels: Any) -> None:
        before = self.memory.sets.get(name, base)
        self.memory.sets[name] = before.with_privileged(*before.privileged, labels)

    def _controls(self) -> None:
        memory, method = self.memory, self.method
        makings = plan_makings(self.control_plan, method, memory.base_state, self.ctx)
        for position in range(memory.component, len(makings)):
            making = makings[position]
            if memory.partial is None:
                memory.partial = making.start()
            total = making.last - making.first
            while memory.step < total:
                metrics = method.step(memory.partial, making.first + memory.step, making.ctx)
                self._after_step(Phase.CONTROLS, total, metrics, making.name)
            memory.sets[making.name] = method.finish(memory.partial, making.ctx)
            memory.component, memory.step, memory.partial = position + 1, 0, None
            self._save()
        memory.base_state = None
        self._describe_selection()
        self._describe_labels()

    def _describe_selection(self) -> None:
        found = describe_selection(self.memory.sets["base"], self.method.needs(self.ctx), self.ctx)
        self.memory.selection = None if found is None else found.model_dump()

    def _describe_labels(self) -> None:
        sets = self.memory.sets
        if "enriched" not in sets:
            return
        self.reporter(Progress(Phase.CONTROLS, 0, 1, "label statistics"))
        chosen = sets["base"].source_indices  # tuned images no longer have any
        found = job_statistics(sets["enriched"], sets["start"], self.types, self.ctx, chosen)
        self.memory.label_statistics = [each.model_dump() for each in found]
        self.reporter(Progress(Phase.CONTROLS, 1, 1, "label statistics"))
        if self.spec.evaluation.gradient_alignment:
            self._compare_gradients(sets["enriched"])

    def _compare_gradients(self, shipped: CondensedSet) -> None:
        def after_step(step: int, total: int) -> None:
            self.reporter(Progress(Phase.CONTROLS, step, total, "gradient alignment"))
            self._stop_if_asked()

        found = gradient_alignment(shipped, recipe_of(self.spec), self.ctx, after_step)
        self.memory.gradient_alignment = [each.model_dump() for each in found]

    @cached_property
    def label_steps(self) -> int:
        """Steps by which the labels were learned; 0 if they were assigned."""
        return sum(kind.total_steps(self.ctx) for kind in self.types)

    @cached_property
    def control_plan(self) -> ControlPlan:
        """Which controls apply; known once the shipped set is finished."""
        return plan_controls(self.spec, self.memory.sets, self.label_steps)

    @cached_property
    def arms(self) -> list[ArmPlan]:
        """The training sets to measure; known once the controls are made."""
        return plan_arms(
            Ingredients(
                base_method=self.spec.base_method.name,
                sets=self.memory.sets,
                learned=self.label_steps > 0,
                types=self.types,
                controls=self.control_plan,
                recipes=Recipes.of(self.spec),
                ctx=self.ctx,
            )
        )

    def _evaluate(self) -> None:
        seeds = seeds_of(self.spec)
        students = [
            Student(arm, network, repeat, seeds[repeat])
            for arm in self.arms
            for network in self.spec.evaluation.networks
            for repeat in range(self.spec.evaluation.repeats)
        ]
        often = self.spec.evaluation.test_every
        known = Measurements(self.place.assets)
        room = Classroom(self.source, self.runtime, known, often, self._on_student_step)
        while self.memory.step < len(students):
            group = room.measure_first(students[self.memory.step :])
            for student, found, before in group:
                self.memory.remembered += before
                unit = {"arm": student.arm.name, "network": student.network}
                self.memory.runs.append(unit | {"repeat": student.repeat} | asdict(found))
            self.memory.step += len(group) - 1
            last = group[-1]
            metrics = {"accuracy": last.measurement.accuracy}
            self._after_step(Phase.EVALUATE, len(students), metrics, last.student.arm.title)

    def _package(self) -> Path:
        self.reporter(Progress(Phase.PACKAGE, 0, 1, "writing the bundle"))
        memory, shipped = self.memory, self.memory.shipped
        notes = self.control_plan.notes
        report = report_of(memory, self.spec, self.arms, notes, self.runtime)
        beside = None
        if report.selection is not None:
            beside = neighbour_images(report.selection, shipped, self.ctx)
        directory = self.place.workspace / BUNDLE
        bundle.write(directory, shipped, self.spec, report, neighbours=beside)
        self.reporter(Progress(Phase.PACKAGE, 1, 1, "bundle written"))
        return directory

    def _after_step(self, phase: Phase, total: int, metrics: Metrics, message: str) -> None:
        memory = self.memory
        memory.step += 1
        if not all(value == value and abs(value) != float("inf") for value in metrics.values()):
            raise TrainingDiverged(f"{message} diverged in step {memory.step}: {metrics}")
        self.reporter(Progress(phase, memory.step, total, message, metrics))
        self._stop_if_asked()
        if time.monotonic() - self.saved_at > self._checkpoint_pause():
            self.accounts.book()
            self._save()

    def _on_prepare(self, step: int, total: int, what: str) -> None:
        self.prepared_steps += 1
        self.reporter(Progress(self.memory.phase, step, total, what))
        self._stop_if_asked()

    def _on_student_step(self, step: int, total: int) -> None:
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self.stop():
            raise Stopped

    def _checkpoint_pause(self) -> float:
        return max(CHECKPOINT_SECONDS, self.save_seconds / CHECKPOINT_SHARE)

    def _save(self) -> None:
        began = time.monotonic()
        save_memory(self.place.workspace / CHECKPOINT, self.memory, self.spec.digest())
        self.saved_at = time.monotonic()
        self.save_seconds = self.saved_at - began

    def _load(self) -> Memory:
        kinds = tuple(kind.state_type for kind in self.types)
        states = StateTypes(self.method.state_type, kinds)
        return load_memory(self.place.workspace / CHECKPOINT, self.spec.digest(), states)


class _Reporter:
    """Passes progress on, at most a few times a second; the last step of a phase always."""

    def __init__(self, sink: ProgressSink) -> None:
        self.sink = sink
        self.last = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.step == progress.total_steps or now - self.last >= PROGRESS_SECONDS:
            self.last = now
            self.sink(progress)


def _instance(registry: Registry[Any], component: Component) -> Any:
    entry = registry.get(component.name)
    return entry.target(entry.options.model_validate(component.options))


def read_source(spec: JobSpec, place: Workplace) -> ImageDataset:
    """The dataset of a job.

    Raises:
        DatasetUnavailable: this machine does not have it, or the images are not those that the
            job was resolved for.
        InvalidInput: there is a class without test images, on which no accuracy can be measured.
    """
    if place.source is not None:
        source = place.source
    elif place.dataset_file is not None:
        source = load_prepared(place.dataset_file)
    else:
        source = load_dataset(spec.dataset.name, place.data_root)
    _check_source(spec.dataset, source.facts)
    counts = source.test.count_per_class(source.facts.num_classes)
    if 0 in counts:
        name = shortened(source.facts.classes[counts.index(0)])
        raise InvalidInput(f"{source.facts.name}: class {name} has no test image to be judged by")
    return source


def _check_source(wanted: DatasetFacts, found: DatasetFacts) -> None:
    differing = wanted.differing(found)
    if differing:
        details = "; ".join(
            f"{field} {shortened(getattr(found, field))}, not {shortened(getattr(wanted, field))}"
            for field in differing
        )
        raise DatasetUnavailable(
            f"these are not the images of dataset {wanted.name!r} that the job is for: {details}. "
            "Give those images, or resolve the request anew with the facts of these"
        )
