"""A small condensed set with every kind of label, and the spec and report that go with it."""

import shutil

import pytest
import torch

from dcpi_core.bundle import write
from dcpi_core.condensed import CondensedSet
from dcpi_core.spec.dataset import DatasetFacts, License
from dcpi_core.spec.job import Component, EvaluationSpec, JobSpec
from dcpi_core.spec.report import Arm, Difference, Environment, Report

CLASSES = ("plane", "car", "bird | [x](y)", "cat")


@pytest.fixture(scope="session")
def facts() -> DatasetFacts:
    return DatasetFacts(
        name="toys",
        title="Toy blobs",
        classes=CLASSES,
        train_per_class=(50, 50, 50, 50),
        num_test=200,
        channels=3,
        height=16,
        width=16,
        mean=(0.5, 0.4, 0.3),
        std=(0.25, 0.2, 0.3),
        license=License(name="CC0", url="https://example.org/cc0", redistributable="yes"),
        citation="@misc{toys, title={Toys}}",
    )


@pytest.fixture(scope="session")
def spec(facts) -> JobSpec:
    return JobSpec(
        dataset=facts,
        images_per_class=3,
        base_method=Component(name="dc", options={"iterations": 10, "image_rate": 0.1}),
        privileged=(Component(name="feature", options={}), Component(name="soft", options={})),
        network="ConvNetD2",
        evaluation=EvaluationSpec(protocol="dc", networks=("ConvNetD2",), repeats=3, epochs=6),
        seed=0,
    )


@pytest.fixture(scope="session")
def condensed(facts) -> CondensedSet:
    from dcpi_core.privileged.features.labels import FeatureLabels, LabelSettings
    from dcpi_core.privileged.soft import SoftLabels

    g = torch.Generator().manual_seed(0)
    images = torch.randn(12, 3, 16, 16, generator=g)
    labels = torch.arange(4).repeat_interleave(3)
    features = FeatureLabels(
        torch.rand(12, 128, 4, 4, generator=g),
        LabelSettings(regression_weight=0.5, task_weight=0.1),
    )
    soft = SoftLabels(probabilities=torch.softmax(torch.randn(12, 4, generator=g), 1))
    return CondensedSet(images, labels, (features, soft))


@pytest.fixture(scope="session")
def report(condensed) -> Report:
    from dcpi_core.bundle import stored_bytes

    size = stored_bytes(condensed)

    def arm(name: str, title: str, runs: tuple[float, ...]) -> Arm:
        return Arm(
            name=name,
            title=title,
            network="ConvNetD2",
            num_images=12,
            train_bytes=size.total if name == "privileged" else size.images + size.labels,
            runs=runs,
            per_class=(0.2, 0.3, 0.4, 0.5),
        )

    base = arm("base", "dc alone", (0.281, 0.284, 0.276))
    full = arm("privileged", "dc + learned feature labels", (0.302, 0.297, 0.309))
    arms = (
        arm("random", "random images", (0.144, 0.151, 0.139)),
        base,
        arm("assigned", "dc + assigned feature labels", (0.279, 0.288, 0.281)),
        full,
    )
    return Report(
        protocol="dc",
        epochs=6,
        seeds=(0, 1, 2),
        num_test=200,
        arms=arms,
        differences=(Difference.between(full, base),),
        bytes=size,
        seconds={"base": 1.5},
        environment=Environment(
            dcpi="0.1.0",
            python="3.11.7",
            torch="2.13.0",
            machine="test",
            device="cpu",
            threads=1,
            engine="eager",
        ),
        notes=("A note with <html> in it.",),
    )


@pytest.fixture(scope="session")
def _written(tmp_path_factory, condensed, spec, report):
    directory = tmp_path_factory.mktemp("written") / "bundle"
    write(directory, condensed, spec, report)
    return directory


@pytest.fixture
def bundle_dir(_written, tmp_path):
    """A bundle of one's own, to be damaged at will."""
    return shutil.copytree(_written, tmp_path / "bundle")
