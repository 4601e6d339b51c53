"""One measurement: train one student on one set with one seed, test it on the whole test set."""

from dataclasses import dataclass

import torch

from dcpi_core.compute import Runtime
from dcpi_core.condensed import CondensedSet
from dcpi_core.datasets.base import ImageDataset, normalise
from dcpi_core.networks import Network, build
from dcpi_core.rng import Streams
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.training import OnStep, Recipe, fit, predict

TEST_BATCH = 1024


@dataclass(frozen=True)
class Measurement:
    """Last-epoch accuracy on the test set, in [0, 1], overall and for each class."""

    accuracy: float
    per_class: tuple[float, ...]


@dataclass(frozen=True)
class Trial:
    """A student to be trained: the same trial gives the same student."""

    network: str
    recipe: Recipe
    seed: int


def measure(
    trial: Trial,
    condensed: CondensedSet,
    source: ImageDataset,
    runtime: Runtime,
    on_step: OnStep | None = None,
) -> Measurement:
    """Train a fresh student on the condensed set and test it."""
    streams = Streams(trial.seed)
    student = fresh_student(trial.network, source.facts, streams)
    fit(student, condensed, trial.recipe, streams=streams, runtime=runtime, on_step=on_step)
    return accuracy(student, source, runtime)


def fresh_student(network: str, facts: DatasetFacts, streams: Streams) -> Network:
    """A newly initialised student for this dataset."""
    with streams.initialisation("student", network):
        return build(network, facts.channels, facts.num_classes, (facts.height, facts.width))


def accuracy(network: Network, source: ImageDataset, runtime: Runtime | None = None) -> Measurement:
    """Accuracy of a trained network on the test split; moves it to the runtime's device."""
    runtime = runtime or Runtime.choose()
    network.to(runtime.device)
    batches = (normalise(images, source.facts) for images in source.test.images.split(TEST_BATCH))
    found = predict(network, batches, runtime)
    predicted = torch.cat([logits.argmax(1).cpu() for _, logits in found])
    right = (predicted == source.test.labels).double()
    per_class = tuple(
        float(right[source.test.labels == label].mean())
        for label in range(source.facts.num_classes)
    )
    return Measurement(float(right.mean()), per_class)
