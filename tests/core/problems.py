"""Small real problems shared by the core's tests."""

from dataclasses import replace
from pathlib import Path

import torch

from dcpi_core.compute import Runtime
from dcpi_core.context import Context
from dcpi_core.datasets.base import ImageDataset, Split
from dcpi_core.prepared import Assets
from dcpi_core.rng import Streams
from dcpi_core.signals import Signals
from dcpi_core.spec.dataset import DatasetFacts, License
from dcpi_core.spec.report import Arm

CLASSES = 3
SIDE = 8


def blobs(
    per_class: int = 20, channels: int = 3, side: int = SIDE, noise: float = 0.7
) -> ImageDataset:
    """Noise around one random image per class: easy to learn, different for every class."""
    shape = (channels, side, side)
    train, test = (_split(part, per_class, shape, noise) for part in (0, 1))
    facts = DatasetFacts(
        name="blobs",
        title="noise around one image per class",
        classes=("red", "green", "blue"),
        train_per_class=(per_class,) * CLASSES,
        num_test=per_class * CLASSES,
        channels=channels,
        height=side,
        width=side,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        license=License(name="none", redistributable="yes"),
    )
    return ImageDataset(facts, train, test)


def context(
    source: ImageDataset,
    assets: Path,
    *,
    per_class: int = 2,
    seed: int = 0,
    threads: int = 2,
    network: str = "ConvNetD2",
) -> Context:
    """A context over ``blobs`` with a small network."""
    return Context(
        train=source.train,
        facts=source.facts,
        images_per_class=per_class,
        network=network,
        streams=Streams(seed),
        runtime=Runtime.choose("cpu", threads),
        assets=Assets(assets),
    )


def signals_of(count: int, **known: torch.Tensor) -> Signals:
    """Signals of images of class 0 of which only these are known."""
    return replace(Signals.of_labels(torch.zeros(count, dtype=torch.int64)), **known)


def _split(part: int, per_class: int, shape: tuple[int, int, int], share: float) -> Split:
    streams = Streams(99)
    centres = torch.rand(CLASSES, 1, *shape, generator=streams.generator("centres"))
    noise = torch.rand(CLASSES, per_class, *shape, generator=streams.generator("noise", part))
    images = (((1 - share) * centres + share * noise) * 255).to(torch.uint8).flatten(0, 1)
    return Split(images, torch.arange(CLASSES).repeat_interleave(per_class))


def arm(name, *runs, network="ConvNetD2"):
    """An arm of a report with these accuracies and nothing else of interest."""
    return Arm(
        name=name,
        title=name,
        network=network,
        num_images=1,
        train_bytes=1,
        runs=runs,
        per_class=(0.5,),
    )
