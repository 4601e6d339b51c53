"""Whole jobs on digits, as a user runs them."""

import json
import runpy
from statistics import fmean

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from dcpi_core import bundle, pipeline
from dcpi_core.base_sets import BaseSets
from dcpi_core.checkpoint import below, load_tensors
from dcpi_core.datasets import ImageDataset, Split, from_splits, load
from dcpi_core.evaluation.reporting import seeds_of
from dcpi_core.methods.matching.base import GradientMatching
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.errors import (
    CheckpointError,
    DatasetUnavailable,
    InvalidInput,
    OutdatedCheckpoint,
    TrainingDiverged,
)
from dcpi_core.spec.job import JobRequest, JobSpec
from dcpi_core.spec.progress import Phase, Stopped
from dcpi_core.spec.resolve import resolve

TEACHER = {"teacher_epochs": 1, "teacher_min_steps": 0}
LEARNED = TEACHER | {
    "learning": "gradient_matching",
    "label_step": "fixed",
    "iterations": 2,
    "outer_loops": 2,
    "real_batch": 20,
}
OPTIONS = {"feature": LEARNED, "soft": TEACHER}


def job(pi_type="feature", method="dc", seed=0, **options) -> JobSpec:
    catalog = load_catalog()
    small = {"iterations": 3, "outer_loops": 2, "real_batch": 20} if method == "dc" else {}
    request = JobRequest.model_validate(
        {
            "dataset": "digits",
            "images_per_class": 1,
            "base_method": method,
            "pi_type": pi_type,
            "seed": seed,
            "options": {
                "base": small,
                "evaluation": {"repeats": 2, "epochs": 3},
                "pi": {name: OPTIONS[name] for name in OPTIONS if name in pi_type},
            }
            | options,
        }
    )
    return resolve(request, catalog.datasets["digits"], catalog)


def place(root, name="workspace") -> pipeline.Workplace:
    return pipeline.Workplace(root / name, root / "assets")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One uninterrupted job and everything it reported."""
    root, seen = tmp_path_factory.mktemp("finished"), []
    directory = pipeline.run(job(), place(root), progress=seen.append, device="cpu")
    return root, directory, seen


def test_a_job_ends_in_a_bundle_that_verifies(finished):
    _, directory, _ = finished
    assert all(check.passed for check in bundle.verify(directory))
    loaded = bundle.load(directory)
    assert loaded.condensed.images.shape == (10, 1, 8, 8)
    assert [labels.kind for labels in loaded.condensed.privileged] == ["feature"]


def test_every_arm_is_measured_with_the_same_seeds(finished):
    _, directory, _ = finished
    report = bundle.load(directory).report
    arms = ["random", "base", "assigned", "privileged", "equal_bytes"]
    assert [arm.name for arm in report.arms] == arms
    assert all(len(arm.runs) == 2 for arm in report.arms)
    assert len(set(report.seeds)) == 2
    assert not set(report.seeds) & set(seeds_of(job(seed=1)))
    assert {(d.arm, d.against) for d in report.differences} >= {
        ("privileged", "base"),
        ("privileged", "assigned"),
        ("base", "random"),
    }


def test_bytes_are_those_on_disk(finished):
    _, directory, _ = finished
    size = bundle.load(directory).report.bytes
    tensors = load_file(directory / "data.safetensors")
    assert size.images == tensors["images"].nbytes == 10 * 64 * 4
    labels = [value.nbytes for name, value in tensors.items() if name.startswith("feature.")]
    assert size.privileged["feature"] == sum(labels) == 10 * (512 + 6)


def test_progress_tells_every_phase_to_its_end(finished):
    _, _, seen = finished
    phases = list(dict.fromkeys(progress.phase for progress in seen))
    assert phases == list(Phase)
    for phase in Phase:
        last = [progress for progress in seen if progress.phase is phase][-1]
        assert last.step == last.total_steps


@pytest.mark.parametrize("when", [1, 4, 7, 9, 11, 14])
def test_stopped_anywhere_and_resumed_gives_the_same_bits(finished, tmp_path, when):
    _, whole, _ = finished
    spec, here = job(), place(tmp_path)
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls >= when

    with pytest.raises(Stopped):
        pipeline.run(spec, here, stop=stop, device="cpu")
    resumed = pipeline.run(spec, here, device="cpu")
    first, second = (load_file(path / "data.safetensors") for path in (whole, resumed))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    runs = [json.loads((p / "report.json").read_text())["arms"] for p in (whole, resumed)]
    assert [arm["runs"] for arm in runs[0]] == [arm["runs"] for arm in runs[1]]


def test_a_job_with_two_learned_parts_resumes_in_the_second(tmp_path):
    spec = job(pi_type=("feature", "soft"), method="random")
    whole = pipeline.run(spec, place(tmp_path, "whole"), device="cpu")
    here = place(tmp_path, "parts")
    seen = []
    with pytest.raises(Stopped):
        pipeline.run(spec, here, progress=seen.append, stop=in_evaluation(seen), device="cpu")
    resumed = pipeline.run(spec, here, device="cpu")
    first, second = (load_file(path / "data.safetensors") for path in (whole, resumed))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def in_evaluation(seen):
    return lambda: bool(seen) and seen[-1].phase is Phase.EVALUATE


def controls_job(**base) -> JobSpec:
    controls = ["noise", "permuted", "random_privileged", "equal_steps", "equal_bytes"]
    evaluation = {"repeats": 1, "epochs": 1, "controls": controls}
    small = {"iterations": 3, "outer_loops": 2, "real_batch": 20}
    return job(evaluation=evaluation, base=small | base)


@pytest.fixture(scope="module")
def controlled(tmp_path_factory):
    """A job with every control, and the condensed sets that its checkpoint keeps."""
    root, seen = tmp_path_factory.mktemp("controlled"), []
    directory = pipeline.run(controls_job(), place(root), progress=seen.append, device="cpu")
    return directory, sets_of(place(root)), seen


def sets_of(here):
    """Tensors of every finished set in a job's checkpoint, by name."""
    tensors, values = load_tensors(here.workspace / pipeline.CHECKPOINT)
    return {name: below(f"sets.{name}.", tensors) for name in values["sets"]}


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def base_alone(root, spec):
    """The base set of a job of its own."""
    alone = spec.model_copy(
        update={
            "privileged": (),
            "evaluation": spec.evaluation.model_copy(update={"controls": ()}),
        }
    )
    pipeline.run(alone, place(root, "alone"), device="cpu")
    return sets_of(place(root, "alone"))["base"]


class TestControls:
    def test_every_control_is_an_arm_and_compared_with_what_it_controls(self, controlled):
        report = bundle.load(controlled[0]).report
        controls = ["equal_bytes", "equal_steps", "random_privileged", "permuted", "noise"]
        names = [arm.name for arm in report.arms]
        assert names == ["random", "base", "assigned", "privileged", *controls]
        pairs = {(d.arm, d.against) for d in report.differences}
        assert {("privileged", name) for name in controls} <= pairs
        assert all(difference.tells for difference in report.differences)
        assert report.notes == ()

    def test_further_steps_are_those_of_a_longer_job(self, controlled, tmp_path):
        """Labels got 2 x 2 steps, so 3 x 2 steps of the images become 5 x 2."""
        wanted = base_alone(tmp_path, controls_job(iterations=5))
        assert same(controlled[1]["equal_steps"], wanted)

    def test_equal_bytes_are_a_job_with_more_images(self, controlled, tmp_path):
        spec = controls_job()
        per_image = 64 * 4 + 8
        count = (10 * (per_image + 512 + 6)) // (10 * per_image)
        assert bundle.load(controlled[0]).report.arm("equal_bytes").num_images == 10 * count
        wanted = base_alone(tmp_path, spec.model_copy(update={"images_per_class": count}))
        assert same(controlled[1]["equal_bytes"], wanted)

    @pytest.mark.parametrize("when", [1, 4, 5, 9, 10])
    def test_stopped_while_controls_are_made_and_resumed(self, controlled, tmp_path, when):
        directory, sets, _ = controlled
        here, seen, asked = place(tmp_path), [], []

        def stop() -> bool:
            if seen and seen[-1].phase is Phase.CONTROLS:
                asked.append(None)
            return len(asked) >= when

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pipeline, "PROGRESS_SECONDS", 0.0)
            with pytest.raises(Stopped):
                pipeline.run(controls_job(), here, progress=seen.append, stop=stop, device="cpu")
        assert load_tensors(here.workspace / pipeline.CHECKPOINT)[1]["phase"] == "controls"
        resumed = pipeline.run(controls_job(), here, device="cpu")
        found = sets_of(here)
        assert found.keys() == sets.keys()
        assert all(same(found[name], sets[name]) for name in sets)
        reports = [bundle.load(path).report for path in (directory, resumed)]
        assert [arm.runs for arm in reports[0].arms] == [arm.runs for arm in reports[1].arms]
        assert reports[0].label_statistics == reports[1].label_statistics

    def test_label_statistics_tell_of_both_stages(self, controlled):
        report = bundle.load(controlled[0]).report
        stages = [(found.kind, found.stage) for found in report.label_statistics]
        assert stages == [("feature", "assigned"), ("feature", "shipped")]
        shipped = report.label_statistics[1]
        # the statistics see the labels as they are stored
        assert shipped.drift == pytest.approx(report.metrics["feature_label_drift"], rel=1e-2)
        assert shipped.fisher_ratio is None  # one image per class
        assert shipped.largest_rank == 9

    def test_every_arm_has_its_classes_and_calibration(self, controlled):
        report = bundle.load(controlled[0]).report
        for arm in report.arms:
            tested = report.num_test * arm.n
            assert sum(map(sum, arm.confusion)) == tested
            right = sum(arm.confusion[label][label] for label in range(10))
            assert right / tested == pytest.approx(arm.mean)
            assert arm.worst_class_runs == (min(arm.per_class),)
            assert 0 <= arm.calibration_errors[0] <= 1

    def test_the_cost_is_counted(self, controlled, finished):
        report = bundle.load(controlled[0]).report
        assert set(report.seconds) == {phase.value for phase in Phase} - {"package"}
        assert report.cost.peak_memory_bytes > 50 * 2**20
        assert report.cost.device_seconds == {}
        assert report.cost.peak_device_memory_bytes is None
        making = sum(report.seconds[name] for name in ("prepare", "base", "privileged"))
        epochs = making / report.cost.full_epoch_seconds
        assert report.cost.full_epochs == pytest.approx(epochs, rel=0.01)
        assert epochs > 1  # of which one is the teacher's own


def test_a_step_that_fails_half_way_is_done_again_from_its_start(finished, tmp_path, monkeypatch):
    """Nothing of a broken step is kept: the next try continues from the last whole one."""
    _, whole, _ = finished
    here, real = place(tmp_path), GradientMatching.step

    def broken(self, state, number, ctx):
        metrics = real(self, state, number, ctx)
        if number == 3:
            raise MemoryError("out of memory after the images had moved")
        return metrics

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(pipeline, "CHECKPOINT_SHARE", float("inf"))
        patch.setattr(GradientMatching, "step", broken)
        with pytest.raises(MemoryError):
            pipeline.run(job(), here, device="cpu")
    resumed = pipeline.run(job(), here, device="cpu")
    first, second = (load_file(path / "data.safetensors") for path in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_diverged_step_is_not_kept(tmp_path, monkeypatch):
    here, real = place(tmp_path), GradientMatching.step

    def nan(self, state, number, ctx):
        metrics = real(self, state, number, ctx)
        return metrics if number < 2 else {"loss": float("nan")}

    monkeypatch.setattr(pipeline, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(pipeline, "CHECKPOINT_SHARE", float("inf"))
    monkeypatch.setattr(GradientMatching, "step", nan)
    with pytest.raises(TrainingDiverged, match="step 3"):
        pipeline.run(job(), here, device="cpu")
    _, kept = load_tensors(here.workspace / pipeline.CHECKPOINT)
    assert kept["step"] == 2


def test_a_finished_job_run_again_only_writes_its_bundle(finished, tmp_path):
    root, directory, _ = finished
    before = (directory / "data.safetensors").read_bytes()
    seen = []
    again = pipeline.run(job(), place(root), progress=seen.append, device="cpu")
    assert {progress.phase for progress in seen} == {Phase.PACKAGE}
    assert (again / "data.safetensors").read_bytes() == before


def test_several_types_are_attached_together(tmp_path):
    spec = job(pi_type=("feature", "soft"), method="random")
    condensed = bundle.load(pipeline.run(spec, place(tmp_path), device="cpu")).condensed
    assert [labels.kind for labels in condensed.privileged] == ["feature", "soft"]


def test_tuned_images_are_shipped_and_measured_without_their_labels_too(tmp_path):
    tuning = LEARNED | {"schedule": "alternating"}
    spec = job(
        ("attention_channel", "feature"),
        "random",
        pi={"feature": tuning, "attention_channel": TEACHER},
    )
    loaded = bundle.load(pipeline.run(spec, place(tmp_path), device="cpu"))
    names = [arm.name for arm in loaded.report.arms]
    assert names == ["random", "base", "tuned", "assigned", "privileged", "equal_bytes"]
    assert [p.kind for p in loaded.condensed.privileged] == ["feature", "attention_channel"]
    assert loaded.condensed.source_indices is None  # they are no longer the source's images
    told = {(d.arm, d.against): d.tells for d in loaded.report.differences}
    assert told["tuned", "base"] == "what tuning the images is worth without their labels"
    assert "beside the tuning" in told["privileged", "tuned"]
    for against in ("base", "assigned"):  # which have neither
        assert "together" in told["privileged", against]


def test_beside_tuned_images_labels_drift_from_where_they_began(tmp_path):
    """Which is not what the base images had: that would take the tuning for learning."""
    quick = LEARNED | {"iterations": 1, "outer_loops": 1}
    options = {
        "feature": quick | {"schedule": "alternating", "tuned_image_learning_rate": 5.0},
        "attention_channel": quick | {"label_learning_rate": 1e-6, "storage": "float32"},
        "attention_spatial": TEACHER,
    }
    evaluation = {"repeats": 1, "epochs": 1, "controls": ["noise"]}
    here, spec = place(tmp_path), job(tuple(options), "random", pi=options, evaluation=evaluation)
    report = bundle.load(pipeline.run(spec, here, device="cpu")).report
    told = {(found.kind, found.stage): found.drift for found in report.label_statistics}
    assert told["feature", "shipped"] > 0
    assert 0 <= told["attention_channel", "shipped"] < 1e-4
    assert told["attention_spatial", "shipped"] is None
    assert ("attention_spatial", "assigned") not in told
    own = {
        name: tensors["attention_spatial.values"] for name, tensors in sets_of(here).items()
        if "attention_spatial.values" in tensors
    }  # fmt: skip
    assert torch.equal(own["start"], own["enriched"])  # what the noise control leaves as it is
    assert not torch.equal(own["start"], own["assigned"])


def test_without_privileged_labels_there_are_two_arms(tmp_path):
    spec = job(pi_type="none", method="random")
    loaded = bundle.load(pipeline.run(spec, place(tmp_path), device="cpu"))
    assert [arm.name for arm in loaded.report.arms] == ["random", "base"]
    assert loaded.report.notes == (
        "Control equal_bytes left out: the set has no privileged labels.",
    )
    assert loaded.report.label_statistics == ()
    assert loaded.report.selection.space == "pixels"
    assert loaded.report.selection.source_indices == tuple(loaded.condensed.source_indices.tolist())


def test_a_free_choice_carries_labels_and_shows_what_was_chosen(tmp_path):
    base = {"balance": "free", "proxy_epochs": 2, "proxy_min_steps": 0}
    options = {
        "base": base,
        "network": "MLP",
        "pi": {"feature": TEACHER | {"learning": "assigned"}},
        "evaluation": {"repeats": 1, "epochs": 1},
    }
    spec = job("feature", "graph_cut", **options)
    directory = pipeline.run(spec, place(tmp_path), device="cpu")
    assert all(check.passed for check in bundle.verify(directory))
    loaded = bundle.load(directory)
    chosen = loaded.report.selection
    assert chosen.space == "features of MLP"
    metrics = loaded.report.metrics  # the rule's proxy and the labels' teacher are two networks
    proxy, teacher = (
        metrics[f"{name}_networks_train_accuracy"] for name in ("graph_cut", "feature")
    )
    assert proxy != teacher == metrics["feature_teacher_train_accuracy"]
    assert chosen.source_indices == tuple(loaded.condensed.source_indices.tolist())
    images = load("digits")
    expected = images.normalise(images.train.images[loaded.condensed.source_indices])
    assert torch.equal(loaded.condensed.images, expected)
    counts = loaded.manifest.images.per_class
    assert sum(counts) == 10
    assert chosen.empty_classes == tuple(label for label in range(10) if not counts[label])
    told = [note for note in loaded.report.notes if "without an image" in note]
    assert bool(told) == bool(chosen.empty_classes)
    card = (directory / "README.md").read_text()
    assert "## Selection" in card
    assert f"| 0 | {chosen.source_indices[0]} | {chosen.stands_for[0]} |" in card
    assert "previews/neighbours.png" in card
    assert (directory / "previews" / "neighbours.png").stat().st_size > 1000


def test_weights_of_a_rule_are_shipped_and_trained_with(tmp_path):
    base = {"weighted": True, "proxy_epochs": 2, "proxy_min_steps": 0}
    evaluation = {"repeats": 1, "epochs": 2, "networks": ["ConvNetD2"]}
    spec = job("none", "craig", base=base, network="MLP", evaluation=evaluation)
    directory = pipeline.run(spec, place(tmp_path), device="cpu")
    assert all(check.passed for check in bundle.verify(directory))
    loaded = bundle.load(directory)
    condensed = loaded.condensed
    assert float(condensed.weights.mean()) == pytest.approx(1)
    sizes = torch.tensor(load("digits").facts.train_per_class)
    torch.testing.assert_close(condensed.weights * sizes.float().mean(), sizes.float())
    assert loaded.manifest.labels.weights.shape == (10,)
    shown = runpy.run_path(str(directory / "train.py"))  # what users without this project run
    student = shown["build"](loaded.manifest.recipe.network.model_dump(mode="json"))
    batch = {name: getattr(condensed, name) for name in ("images", "labels", "weights")}
    with torch.no_grad():
        logits = student.classify(student.maps(condensed.images)[-1])
        found = float(shown["objective"](student, batch, {}))
    losses = F.cross_entropy(logits, condensed.labels, reduction="none")
    wanted = float((losses * condensed.weights).mean())
    assert found == pytest.approx(wanted)
    assert wanted != pytest.approx(float(losses.mean()), rel=1e-6)


def test_everything_a_report_can_be_asked_for(tmp_path):
    """All images, other views, best epochs and a second student, in one small job."""
    evaluation = {
        "repeats": 2,
        "epochs": 3,
        "full_epochs": 2,
        "test_every": 1,
        "networks": ["ConvNetD2", "MLP"],
        "controls": ["full", "other_view", "random_other_view"],
    }
    directory = pipeline.run(job("soft", evaluation=evaluation), place(tmp_path), device="cpu")
    assert all(check.passed for check in bundle.verify(directory))
    report = bundle.load(directory).report
    for network in ("ConvNetD2", "MLP"):
        full, base = (report.arm(name, network) for name in ("full", "base"))
        assert full.num_images == load("digits").facts.num_train
        assert full.title == "all training images, 2 epochs"
        assert full.mean > base.mean
        found = {score.name: score for score in report.scores if score.network == network}
        assert found["hlr"].mean == pytest.approx(full.mean - base.mean)
        assert 0 < found["lrs"].mean < 1
        assert 0 < found["ars"].mean < 1
        assert found["ior_pi"].reason.endswith("the control random_privileged")
    for arm in report.arms:
        assert all(best >= last for best, last in zip(arm.best_epoch_runs, arm.runs, strict=True))
        assert all(1 <= epoch <= 4 for epoch in arm.best_epochs)
        assert len(arm.seconds) == 2
    cost = report.cost
    saved = fmean(report.arm("full").seconds) - fmean(report.arm("privileged").seconds)
    making = sum(report.seconds[phase] for phase in ("prepare", "base", "privileged"))
    assert cost.break_even_students == pytest.approx(making / saved, rel=0.01)
    card = (directory / "README.md").read_text()
    assert "## Scores" in card
    assert "| lrs | MLP | 0." in card
    assert "Best epoch, chosen by test accuracy" in card


def test_a_checkpoint_of_another_job_is_refused(finished):
    root, _, _ = finished
    with pytest.raises(CheckpointError, match="belongs to another job"):
        pipeline.run(job(seed=1), place(root), device="cpu")


def test_a_checkpoint_of_other_code_is_refused(tmp_path, monkeypatch):
    stop_after = iter([False] * 3)
    with pytest.raises(pipeline.Stopped):
        pipeline.run(job(), place(tmp_path), stop=lambda: next(stop_after, True), device="cpu")
    monkeypatch.setattr("dcpi_core.memory.code_digest", lambda: "of another version")
    with pytest.raises(OutdatedCheckpoint, match="left by other code; delete it to begin again"):
        pipeline.run(job(), place(tmp_path), device="cpu")


def test_a_dataset_that_changed_since_the_job_was_submitted_is_refused(tmp_path):
    spec = job()
    other = spec.dataset.model_copy(update={"fingerprint": "0" * 64})
    with pytest.raises(DatasetUnavailable, match="fingerprint"):
        pipeline.run(spec.model_copy(update={"dataset": other}), place(tmp_path), device="cpu")


class TestImagesOfAnotherDataset:
    """What a spec says of its dataset holds of the images, whoever gives them."""

    @pytest.fixture
    def digits(self):
        return load("digits")

    def read(self, spec, source, tmp_path):
        there = pipeline.Workplace(tmp_path, tmp_path, source=source)
        return pipeline.read_source(spec, there)

    def test_a_spec_of_the_catalogue_is_for_the_published_images(self, digits, tmp_path):
        inverted = Split(255 - digits.train.images, digits.train.labels)
        mine = from_splits("mine", inverted, digits.test, classes="jihgfedcba")
        with pytest.raises(DatasetUnavailable) as refused:
            self.read(job(), mine, tmp_path)
        assert "dataset 'digits' that the job is for: name 'mine', not 'digits'; classes ('j'" in (
            refused.value.detail
        )
        assert "mean (0.694817" in refused.value.detail
        assert self.read(job(), digits, tmp_path) is digits

    def test_the_same_name_is_not_enough(self, digits, tmp_path):
        namesake = from_splits("digits", digits.train, digits.test, classes="jihgfedcba")
        with pytest.raises(DatasetUnavailable, match=r"is for: classes \('j'"):
            self.read(job(), namesake, tmp_path)

    def test_the_same_images_may_have_another_name(self, digits, tmp_path):
        renamed = digits.facts.model_copy(update={"name": "numerals", "title": "Numerals"})
        spec = job().model_copy(update={"dataset": renamed})
        assert self.read(spec, digits, tmp_path) is digits
        brighter = spec.dataset.model_copy(update={"mean": (0.5,)})
        with pytest.raises(DatasetUnavailable, match=r"is for: mean \(0.305183,\), not \(0.5,\)\."):
            self.read(spec.model_copy(update={"dataset": brighter}), digits, tmp_path)

    def test_a_class_without_test_images_is_refused_before_any_work(self, digits, tmp_path):
        known = digits.test.labels < 9
        test = Split(digits.test.images[known], digits.test.labels[known])
        facts = digits.facts.model_copy(update={"num_test": len(test), "fingerprint": ""})
        source = ImageDataset(facts, digits.train, test)
        spec = job().model_copy(update={"dataset": source.facts})
        with pytest.raises(InvalidInput, match="digits: class '9' has no test image"):
            self.read(spec, source, tmp_path)


def test_no_method_can_reach_the_test_data(finished, tmp_path):
    """A test split full of noise changes the accuracies and not one tensor of the bundle."""
    _, directory, _ = finished
    digits = load("digits")
    noise = torch.zeros_like(digits.test.images)

    class Blind(pipeline._Job):
        source = type(digits)(
            digits.facts.model_copy(update={"fingerprint": ""}),
            digits.train,
            type(digits.test)(noise, digits.test.labels),
        )

    runtime = pipeline.Runtime.choose("cpu")
    there = place(tmp_path)
    blind = Blind(job(), there, runtime, lambda _: None, lambda: False).run()
    first, second = (load_file(path / "data.safetensors") for path in (directory, blind))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    reports = [bundle.load(path).report for path in (directory, blind)]
    assert reports[0].arm("base").runs != reports[1].arm("base").runs


class TestBaseOfAnEarlierJob:
    """The second job's base phase takes no step and gives the first job's images."""

    @pytest.fixture
    def steps(self, monkeypatch):
        real, seen = GradientMatching.step, []

        def counted(self, state, number, ctx):
            seen.append(number)
            return real(self, state, number, ctx)

        monkeypatch.setattr(GradientMatching, "step", counted)
        return seen

    def images(self, directory):
        return bundle.load(directory).condensed.images

    def test_carries_labels_of_another_kind(self, finished, steps, monkeypatch):
        root, first, _ = finished
        find, kept = BaseSets.find, []
        monkeypatch.setattr(BaseSets, "find", lambda *given: kept.append(find(*given)) or kept[-1])
        spec = job("soft", evaluation={"repeats": 2, "epochs": 3, "controls": []})
        second = pipeline.run(spec, place(root, "soft"), device="cpu")
        assert not steps
        assert torch.equal(self.images(first), self.images(second))
        ours, theirs = bundle.load(second).report, bundle.load(first).report
        assert ours.notes[-3].startswith("1 of the teachers and proxies had been trained")
        assert ours.notes[-2].startswith("The base set is that of an earlier job")
        assert ours.notes[-1].startswith("4 of 6 students had been measured before")
        assert [ours.arm(n).runs for n in ("random", "base")] == [
            theirs.arm(n).runs for n in ("random", "base")
        ]
        assert kept[-1].seconds > 0
        assert ours.seconds["base"] >= round(kept[-1].seconds, 3)  # of making, not of finding
        assert not any("earlier job" in note for note in theirs.notes)

    @pytest.mark.parametrize(
        "other",
        [
            {"seed": 1},
            {"base": {"iterations": 2, "outer_loops": 2, "real_batch": 20}},
            {"network": "ConvNetD1"},
        ],
        ids=["seed", "option", "network"],
    )
    def test_is_not_taken_for_another(self, finished, steps, other):
        root, first, _ = finished
        small = {"evaluation": {"repeats": 1, "epochs": 1}}
        second = pipeline.run(job("none", **small | other), place(root, str(other)), device="cpu")
        assert steps
        assert not torch.equal(self.images(first), self.images(second))

    def test_is_made_again_where_a_control_goes_on_from_it(self, finished, steps):
        root, first, _ = finished
        spec = job(evaluation={"repeats": 1, "epochs": 1, "controls": ["equal_steps"]})
        second = pipeline.run(spec, place(root, "steps"), device="cpu")
        assert len(steps) > 6
        assert torch.equal(self.images(first), self.images(second))

    def test_is_made_again_by_other_code(self, finished, steps, monkeypatch):
        root, first, _ = finished
        monkeypatch.setattr("dcpi_core.base_sets.code_digest", lambda: "of a better method")
        small = {"evaluation": {"repeats": 1, "epochs": 1}}
        second = pipeline.run(job("none", **small), place(root, "code"), device="cpu")
        assert len(steps) == 6
        assert torch.equal(self.images(first), self.images(second))

    def test_is_made_again_if_it_is_damaged(self, tmp_path, steps):
        spec = job("none", evaluation={"repeats": 1, "epochs": 1})
        first = self.images(pipeline.run(spec, place(tmp_path, "first"), device="cpu"))
        (kept,) = tmp_path.glob("assets/cpu/base_sets/*.safetensors")
        kept.write_bytes(kept.read_bytes()[:100])
        steps.clear()
        again = pipeline.run(spec, place(tmp_path, "again"), device="cpu")
        assert len(steps) == 6
        assert torch.equal(first, self.images(again))
