"""Training on a bundle: through the library, and by the script inside it that needs none of it."""

import json
import subprocess
import sys
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pytest
import torch

from dcpi_core.bundle import load, verify, write
from dcpi_core.compute import Runtime
from dcpi_core.condensed import CondensedSet
from dcpi_core.datasets.base import ImageDataset, Split, normalise
from dcpi_core.privileged.features.labels import (
    FeatureLabels,
    LabelSettings,
    SpatialAttentionLabels,
)
from dcpi_core.privileged.soft import SoftLabels
from dcpi_core.spec.report import Report

BLOCK_IMPORTS = "import sys; sys.modules['dcpi_core'] = None; "
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def blobs(facts) -> ImageDataset:
    """Four textures buried in noise, so that accuracy is well off both chance and 100 %."""
    g = torch.Generator().manual_seed(1)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    textures = torch.stack([torch.sin(a) for a in (x, y, (x + y) / 1.4, x * 1.5)])

    def split(per_class: int) -> Split:
        labels = torch.arange(4).repeat_interleave(per_class)
        noise = torch.randn(len(labels), 3, 16, 16, generator=g) * 120
        images = 128 + 40 * textures[labels].unsqueeze(1) + noise
        return Split(images.clamp(0, 255).to(torch.uint8), labels)

    return ImageDataset(facts, split(50), split(50))


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory, blobs, facts, spec, report):
    """Real images of the blobs with soft and feature labels, written as a bundle."""
    index = torch.cat([blobs.train.of_class(label)[:3] for label in range(4)])
    labels = blobs.train.labels[index]
    g = torch.Generator().manual_seed(2)
    features = FeatureLabels(
        torch.rand(12, 128, 4, 4, generator=g),
        LabelSettings(regression_weight=0.5, task_weight=0.1),
    )
    soft = 0.8 * torch.eye(4)[labels] + 0.05
    condensed = CondensedSet(
        normalise(blobs.train.images[index], facts), labels, (features, SoftLabels(soft)), index
    )
    evaluation = spec.evaluation.model_copy(update={"epochs": 20})
    directory = tmp_path_factory.mktemp("blobs") / "bundle"
    write(directory, condensed, spec.model_copy(update={"evaluation": evaluation}), report)
    return directory


@pytest.fixture(scope="module")
def test_file(tmp_path_factory, blobs):
    path = tmp_path_factory.mktemp("test") / "test.npz"
    np.savez(path, images=blobs.test.images.numpy(), labels=blobs.test.labels.numpy())
    return path


def run_script(directory, *options):
    """Run the bundle's train.py where dcpi_core cannot be imported."""
    code = BLOCK_IMPORTS + "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    code = f"import sys; sys.argv = sys.argv[1:]; {code}"
    script = str(directory / "train.py")
    return subprocess.run(
        [sys.executable, "-I", "-c", code, script, "--device", "cpu", *map(str, options)],
        cwd=directory.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def measured(output: str) -> list[float]:
    return [float(line.split()[2]) / 100 for line in output.splitlines() if line.startswith("seed")]


def test_the_block_really_blocks():
    code = BLOCK_IMPORTS + "import dcpi_core"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=False)
    assert b"ModuleNotFoundError" in done.stderr or b"ImportError" in done.stderr


def test_the_script_reaches_what_the_library_reaches(small_bundle, test_file, blobs):
    done = run_script(small_bundle, "--test", test_file)
    assert done.returncode == 0, done.stderr
    alone = measured(done.stdout)
    bundle = load(small_bundle)
    ours = [bundle.evaluate(bundle.fit(seed=s, device="cpu"), blobs.test, "cpu") for s in SEEDS]
    spread = max(stdev(alone), stdev(ours), 0.01)
    assert abs(fmean(alone) - fmean(ours)) < 3 * spread
    assert 0.35 < fmean(ours) < 0.95  # neither chance (0.25) nor saturated: the test can fail
    assert "reported: 30.27 +- 0.60 % (n=3: 30.20 29.70 30.90)" in done.stdout


def test_the_objectives_are_the_same(small_bundle):
    """One batch, the same weights: the script's loss is the library's loss."""
    from dcpi_core.bundle import standalone
    from dcpi_core.training import objective

    bundle = load(small_bundle)
    network = bundle.build_network(seed=3)
    manifest = json.loads((small_bundle / "manifest.json").read_text())
    twin = standalone.build(manifest["recipe"]["network"])
    ours = list(network.parameters())
    with torch.no_grad():
        for theirs, mine in zip(twin.parameters(), ours, strict=True):
            theirs.copy_(mine)
    feature, soft = bundle.condensed.privileged
    feature = replace(feature, settings=replace(feature.settings, channel_weight=0.2))
    condensed = bundle.condensed.with_privileged(feature, soft)
    privileged = {part["type"]: part["settings"] for part in manifest["privileged"]}
    privileged["feature"] |= {"channel_weight": 0.2}
    batch = {"images": condensed.images, "labels": condensed.labels}
    batch["feature.values"] = condensed.privileged[0].values
    batch["soft.probabilities"] = condensed.privileged[1].probabilities
    expected = objective(network, condensed.images, condensed.labels, condensed.privileged)
    found = standalone.objective(twin, batch, privileged)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_recipes_are_the_same(small_bundle):
    bundle = load(small_bundle)
    rates, recipe = bundle.recipe.learning_rates(), bundle.manifest.recipe
    assert len(rates) == recipe.passes
    low = [epoch for epoch, rate in enumerate(rates) if rate < recipe.optimizer.lr]
    assert low[0] == recipe.schedule.after_epoch_index + 1
    assert rates[-1] == pytest.approx(recipe.optimizer.lr * recipe.schedule.factor)


def test_a_bundle_tests_a_network_as_the_evaluation_does(small_bundle, blobs):
    from dcpi_core.evaluation.measure import evaluate

    bundle, runtime = load(small_bundle), Runtime.choose("cpu")
    network = bundle.build_network(seed=4)
    assert bundle.evaluate(network, blobs.test, "cpu") == evaluate(network, blobs, runtime).accuracy


def test_a_bundle_trains_to_the_measurement_of_its_report(small_bundle, blobs):
    """``bundle.fit(seed=i)`` is run i of the report: the same student, bit for bit."""
    from dcpi_core.evaluation.measure import Trial, measure

    bundle = load(small_bundle)
    runtime = Runtime.choose("cpu", threads=1)
    trial = Trial("ConvNetD2", bundle.recipe, 1)
    expected = measure(trial, bundle.condensed, blobs, runtime)
    student = bundle.fit(seed=1, device="cpu")
    assert bundle.evaluate(student, blobs.test, "cpu") == pytest.approx(
        expected.accuracy, abs=0.011
    )


def test_run_i_of_a_training_is_run_i_of_a_verification(small_bundle, blobs, monkeypatch):
    """Each student with one thread for an operation, in whatever company: the same bits."""
    from dcpi_core.evaluation import verification as module

    bundle, told, logits, real = load(small_bundle), [], {}, module.evaluate_on

    def noted(split, student, *given):
        found = real(split, student, *given)
        logits.setdefault(float(next(student.parameters()).detach().sum()), []).append(found)
        return found

    two = Runtime(torch.device("cpu"), threads=2, micro_batch=32)
    monkeypatch.setattr(module.Runtime, "choose", lambda _: two)
    monkeypatch.setattr(module, "evaluate_on", noted)
    runs = module.retrain(
        bundle, blobs.test, (1, 2, 3), device="cpu", watch=module.Watch(progress=told.append)
    )
    alone = [
        *module.retrain(bundle, blobs.test, (1,), device="cpu"),
        *module.retrain(bundle, blobs.test, (2, 3), device="cpu"),
    ]
    assert list(runs) == alone
    assert len(logits) == 3, "the parameters are the same to the last bit"
    # Two side by side, then the third.
    assert [(now.step, now.message) for now in told[:2]] == [(0, "seed 1"), (2, "seed 3")]
    assert (told[2].step, told[2].total_steps) == (3, 3)


@pytest.fixture
def tf32():
    """Where TF32 is switched on or off: all on, and as they were in the end."""
    switches = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = True
    yield switches
    for switch, was in zip(switches, before, strict=True):
        switch.allow_tf32 = was


def test_the_script_computes_in_float32(small_bundle, test_file, monkeypatch, tf32):
    """As the library does. On a GPU torch would have convolutions rounded to TF32."""
    from dcpi_core.bundle import standalone

    seen = []

    def train(recipe, *_):
        seen.append([switch.allow_tf32 for switch in tf32])
        return standalone.build(recipe["network"])

    monkeypatch.setattr(standalone, "train", train)
    monkeypatch.setattr(standalone, "HERE", small_bundle)
    given = ["train.py", "--test", str(test_file), "--device", "cpu", "--seeds", "0"]
    monkeypatch.setattr(sys, "argv", given)
    standalone.main()
    assert seen == [[False, False]]


@pytest.mark.parametrize(
    ("images", "word"),
    [
        (np.zeros((5, 3, 32, 32), np.uint8), "has uint8 images of (3, 32, 32); the students of"),
        (np.zeros((5, 3, 16, 16), np.float32), "take uint8 images of (3, 16, 16)"),
        (None, "holds no test images: "),
    ],
    ids=["size", "type", "other file"],
)
def test_the_script_refuses_other_test_images(small_bundle, tmp_path, images, word):
    path = tmp_path / "test.npz"
    if images is None:
        path.write_text("words")
    else:
        np.savez(path, images=images, labels=np.zeros(5, np.int64))
    done = run_script(small_bundle, "--test", path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert word in done.stderr


def test_the_script_refuses_altered_data(small_bundle, test_file, tmp_path):
    import shutil

    copy = shutil.copytree(small_bundle, tmp_path / "copy")
    data = bytearray((copy / "data.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "data.safetensors").write_bytes(data)
    done = run_script(copy, "--test", test_file)
    assert done.returncode == 1
    assert "sha256" in done.stderr


def test_the_script_says_which_networks_it_knows(tmp_path, condensed, spec, report, test_file):
    other = spec.evaluation.model_copy(update={"networks": ("LeNet",), "epochs": 1})
    changed = spec.model_copy(update={"network": "LeNet", "evaluation": other})
    plain = replace(condensed, privileged=())
    write(tmp_path / "bundle", plain, changed, report)
    done = run_script(tmp_path / "bundle", "--test", test_file)
    assert done.returncode == 1
    assert "dcpi train" in done.stderr
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "`train.py` builds no LeNet" in card
    assert "--test test.npz" not in card


def test_the_card_promises_the_script_only_where_it_works(tmp_path, condensed, spec, report):
    def promised(changed, **settings) -> bool:
        own = LabelSettings(regression_weight=0.5, task_weight=0, **settings)
        labelled = condensed.with_privileged(FeatureLabels(torch.rand(12, 128, 1, 1), own))
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        write(path, labelled, changed, report)
        return "--test test.npz" in (path / "README.md").read_text()

    deeper = spec.evaluation.model_copy(update={"networks": ("ConvNetD4",)})
    assert promised(spec)
    assert not promised(spec, contrast_weight=0.1)
    assert not promised(spec.model_copy(update={"evaluation": deeper}))


@pytest.mark.parametrize(
    ("kind", "shape"), [(FeatureLabels, (128, 2, 2)), (SpatialAttentionLabels, (1, 1, 1))]
)
def test_the_script_refuses_labels_of_another_shape(
    tmp_path, condensed, spec, report, test_file, kind, shape
):
    """Those of another network, which the library aligns; torch would stretch the second kind."""
    labels = kind(torch.rand(12, *shape), LabelSettings(regression_weight=0.5, task_weight=0))
    write(tmp_path / "bundle", condensed.with_privileged(labels), spec, report)
    done = run_script(tmp_path / "bundle", "--test", test_file)
    assert done.returncode == 1
    assert "use `dcpi train`: the student's features are" in done.stderr
    assert str(shape) in done.stderr


def test_the_script_reads_canonical_files(small_bundle, blobs, tmp_path):
    from safetensors.torch import save_file

    from dcpi_core.bundle import standalone

    path = tmp_path / "x.safetensors"
    save_file({"test_images": blobs.test.images, "test_labels": blobs.test.labels}, path)
    normalize = json.loads((small_bundle / "manifest.json").read_text())["preprocess"]["normalize"]
    pixels, labels = standalone.read_pixels(path)
    images = standalone.normalised(pixels, normalize)
    torch.testing.assert_close(images, normalise(blobs.test.images, blobs.facts))
    assert torch.equal(labels, blobs.test.labels)


def test_the_script_is_short_and_without_lint_remarks(small_bundle):
    text = (small_bundle / "train.py").read_text()
    assert len(text.splitlines()) < 320
    assert "noqa" not in text
    assert "mypy" not in text


def test_report_type_is_checked(small_bundle):
    assert isinstance(load(small_bundle).report, Report)


@pytest.fixture(scope="module")
def dsa_bundle(tmp_path_factory, small_bundle, spec, report):
    evaluation = spec.evaluation.model_copy(update={"epochs": 25, "protocol": "dsa"})
    directory = tmp_path_factory.mktemp("dsa") / "bundle"
    condensed = load(small_bundle).condensed
    write(directory, condensed, spec.model_copy(update={"evaluation": evaluation}), report)
    return directory


class TestSiameseAugmentation:
    def test_the_script_reaches_what_the_library_reaches(self, dsa_bundle, test_file, blobs):
        bundle = load(dsa_bundle)
        assert bundle.recipe.augmentation == "dsa"
        done = run_script(dsa_bundle, "--test", test_file, "--seeds", *SEEDS)
        assert done.returncode == 0, done.stderr
        alone = measured(done.stdout)
        ours = [bundle.evaluate(bundle.fit(seed=s, device="cpu"), blobs.test, "cpu") for s in SEEDS]
        spread = max(stdev(alone), stdev(ours), 0.01)
        assert abs(fmean(alone) - fmean(ours)) < 3 * spread
        assert 0.35 < fmean(ours) < 0.95

    @pytest.mark.parametrize("operation", ["colour", "crop", "cutout", "flip", "scale", "rotate"])
    @pytest.mark.parametrize("shape", [(3, 16, 16), (1, 9, 12)])
    def test_the_operations_are_the_same(self, operation, shape):
        """From the same uniform numbers, the script and the library make the same images."""
        from dcpi_core.bundle import standalone
        from dcpi_core.ops.siamese import Draw

        images = torch.randn(6, *shape, generator=torch.Generator().manual_seed(0))
        with torch.random.fork_rng():
            torch.manual_seed(7)
            found = standalone.siamese_augmentation(images, (operation,))
            torch.manual_seed(7)
            torch.randint(1, ())
            uniforms = torch.rand(3, 6).t()
        expected = Draw(operation, uniforms).apply(images)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

    def test_digits_are_not_flipped_by_either(self):
        from dcpi_core.bundle import standalone
        from dcpi_core.ops.siamese import OPERATIONS
        from dcpi_core.spec.protocols import augmentation_of

        assert standalone.OPERATIONS == OPERATIONS
        assert augmentation_of("dsa", "svhn") == "dsa_no_flip"
        assert augmentation_of("dsa", "cifar10") == "dsa"
        images = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        seen = [standalone.augmented(images, "dsa_no_flip") for _ in range(40)]
        assert not any(torch.equal(found, images.flip(3)) for found in seen)


def test_several_images_in_one(tmp_path, condensed, spec, report):
    """A set of tiles comes back as it was written, and script and library see the same images."""
    from dcpi_core.bundle import standalone

    soft = torch.softmax(torch.randn(48, 4, generator=torch.Generator().manual_seed(1)), 1)
    stored = replace(condensed, privileged=(SoftLabels(soft),), partition=2)
    write(tmp_path / "bundle", stored, spec, report)
    assert all(check.passed for check in verify(tmp_path / "bundle"))
    found = load(tmp_path / "bundle").condensed
    assert found.partition == 2
    assert torch.equal(found.images, condensed.images)
    seen = found.as_seen()
    own = {"images": found.images, "labels": found.labels, "soft.probabilities": soft}
    alone = standalone.enlarged_tiles(own, 2)
    torch.testing.assert_close(alone["images"], seen.images)
    assert torch.equal(alone["labels"], seen.labels)
    assert torch.equal(alone["soft.probabilities"], seen.privileged[0].probabilities)


def test_labels_of_too_few_tiles_are_found_out(tmp_path, condensed, spec, report):
    whole = SoftLabels(torch.full((len(condensed), 4), 0.25))
    write(tmp_path / "bundle", replace(condensed, privileged=(whole,), partition=2), spec, report)
    (failed,) = (check for check in verify(tmp_path / "bundle") if not check.passed)
    assert "students see 48 images" in failed.detail
