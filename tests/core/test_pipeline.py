"""Whole jobs on digits, as a user runs them."""

import json

import pytest
import torch
from safetensors.torch import load_file

from dcpi_core import bundle, pipeline
from dcpi_core.checkpoint import load_tensors
from dcpi_core.datasets import load
from dcpi_core.evaluation.reporting import seeds_of
from dcpi_core.methods.matching.base import GradientMatching
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.errors import CheckpointError, DatasetUnavailable, TrainingDiverged
from dcpi_core.spec.job import JobRequest, JobSpec
from dcpi_core.spec.progress import Phase, Stopped
from dcpi_core.spec.resolve import resolve

TEACHER = {"teacher_epochs": 1, "teacher_min_steps": 0}
LEARNED = TEACHER | {
    "learning": "gradient_matching",
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
    assert [arm.name for arm in report.arms] == ["random", "base", "assigned", "privileged"]
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
    assert size.privileged["feature"] == tensors["feature.values"].nbytes


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
    assert names == ["random", "base", "tuned", "assigned", "privileged"]
    assert [p.kind for p in loaded.condensed.privileged] == ["feature", "attention_channel"]
    assert loaded.condensed.source_indices is None  # they are no longer the source's images
    differences = {(d.arm, d.against) for d in loaded.report.differences}
    assert {("tuned", "base"), ("privileged", "tuned")} <= differences


def test_without_privileged_labels_there_are_two_arms(tmp_path):
    spec = job(pi_type="none", method="random")
    loaded = bundle.load(pipeline.run(spec, place(tmp_path), device="cpu"))
    assert [arm.name for arm in loaded.report.arms] == ["random", "base"]
    assert loaded.condensed.source_indices is not None


def test_a_checkpoint_of_another_job_is_refused(finished):
    root, _, _ = finished
    with pytest.raises(CheckpointError, match="belongs to another job"):
        pipeline.run(job(seed=1), place(root), device="cpu")


def test_a_dataset_that_changed_since_the_job_was_submitted_is_refused(tmp_path):
    spec = job()
    other = spec.dataset.model_copy(update={"fingerprint": "0" * 64})
    with pytest.raises(DatasetUnavailable, match="fingerprint"):
        pipeline.run(spec.model_copy(update={"dataset": other}), place(tmp_path), device="cpu")


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
