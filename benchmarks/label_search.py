"""Which labels pay most: a search on CIFAR-10 that never looks at the test set.

A tenth of the training images is held out; teachers, base sets and labels see the other nine
tenths, and students are tested on the held-out ones. The best cells then go through the ordinary
service, test set and all (``benchmarks.cifar10``). Every cell is kept, the poor ones included.

    python -m benchmarks.label_search --dataset cifar10.safetensors --work var/search \
        --out benchmarks/results/label_search.json [--only REGEX]

Cells that the output file has already are not measured again, so an interrupted search goes on.
"""

import argparse
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import describe
from dcpi_core.bundle.tensors import from_tensors, stored_bytes, to_tensors
from dcpi_core.checkpoint import load_tensors, save_tensors
from dcpi_core.compute import Runtime
from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context
from dcpi_core.datasets import load_prepared
from dcpi_core.datasets.base import ImageDataset, Split
from dcpi_core.evaluation.measure import Trial, measure
from dcpi_core.prepared import Assets
from dcpi_core.privileged.features.labels import FeatureLabels
from dcpi_core.registry import METHODS, PRIVILEGED_TYPES
from dcpi_core.rng import Streams
from dcpi_core.spec.protocols import Protocol, augmentation_of, default_epochs
from dcpi_core.training import Recipe

HELD_OUT = 10  # one in so many training images


@dataclass(frozen=True)
class Base:
    """Condensed images to put labels on, and how students are trained on them."""

    method: str
    images_per_class: int
    options: dict[str, Any] = field(default_factory=dict)
    protocol: Protocol = "dc"
    students: int = 4


@dataclass(frozen=True)
class Cell:
    """One combination of labels; ``control`` spoils them on purpose."""

    base: str
    labels: dict[str, dict[str, Any]]
    control: str = ""


TILES = {"iterations": 1, "real_batch": 256}
BASES = {
    "dc, 1": Base("dc", 1, {"iterations": 200}),
    "dc from real images, 1": Base("dc", 1, {"iterations": 200, "init": "real"}),
    "random, 1": Base("random", 1),
    "random, 10": Base("random", 10, protocol="dc_flip_shift", students=2),
    "random, 10, dsa": Base("random", 10, protocol="dsa", students=2),
    "herding, 10": Base("herding", 10, protocol="dc_flip_shift", students=2),
    "k_center, 10": Base("k_center", 10, protocol="dc_flip_shift", students=2),
    "dm, 10": Base("dm", 10, {"iterations": 200}, protocol="dc_flip_shift", students=2),
    # Four small real images in the place of one, after a single update: as good as untouched.
    "tiles, 1": Base("idm", 1, TILES, protocol="dc_flip_shift"),
    "tiles, 10": Base("idm", 10, TILES, protocol="dc_flip_shift", students=2),
    "idm, 1": Base("idm", 1, TILES | {"iterations": 200}, protocol="dc_flip_shift"),
}

HEAVY = {"regression_weight": 100.0, "task_weight": 5.0, "storage": "int8"}
MIXED = {"hard_label_weight": 0.5}
LEARN = {
    "learning": "gradient_matching",
    "iterations": 10,
    "outer_loops": 5,
    "inner_epochs": 10,
    "real_batch": 128,
    "label_step": "auto",
}


def cells() -> Iterator[Cell]:
    """The whole search, the controls beside the claims."""
    yield from _weights("dc, 1")
    yield from _kinds("dc, 1")
    yield from _strong("dc from real images, 1")
    yield from _strong("random, 1")
    yield from _ten("random, 10")
    yield from _learned("dc, 1")
    yield from _unrolled("dc from real images, 1")
    for base in ("tiles, 1", "idm, 1", "tiles, 10"):
        yield from _tiled(base)
    for base in ("random, 10, dsa", "herding, 10", "k_center, 10", "dm, 10"):
        yield Cell(base, {})
        yield Cell(base, {"soft": {}})
        yield Cell(base, {"feature": HEAVY, "soft": {}})


def _weights(base: str) -> Iterator[Cell]:
    yield Cell(base, {})
    for weight, task in (
        (1.5, 0.0),
        (1.5, 1.0),
        (10.0, 0.0),
        (10.0, 1.0),
        (50.0, 1.0),
        (50.0, 5.0),
    ):
        yield Cell(base, {"feature": {"regression_weight": weight, "task_weight": task}})
    for control in ("permuted", "noise", "zero"):
        yield Cell(base, {"feature": {}}, control)


def _kinds(base: str) -> Iterator[Cell]:
    yield Cell(base, {"feature": {"storage": "float16"}})
    yield Cell(base, {"feature": {"storage": "int8"}})
    yield Cell(base, {"feature": {"teacher_epochs": 1}})
    yield Cell(base, {"feature": {"layer": "second"}})
    yield Cell(base, {"feature": {"contrast_weight": 0.1}})
    yield Cell(base, {"feature": {"contrast_weight": 1.0}})
    yield Cell(base, {"soft": {}})
    yield Cell(base, {"feature": {}, "soft": {}})
    yield Cell(base, {"soft": MIXED})
    yield Cell(base, {"feature": {}, "soft": MIXED})
    for kind in ("attention_channel", "attention_spatial"):
        yield Cell(base, {kind: {}})
        yield Cell(base, {kind: {"regression_weight": 100.0}})
    yield Cell(base, {"attention_channel": {"layer": "second", "regression_weight": 100.0}})
    for regression, task in ((20.0, 1.0), (20.0, 3.0), (100.0, 5.0)):
        weights = {"regression_weight": regression, "task_weight": task}
        yield Cell(base, {"feature": weights})
    yield Cell(base, {"feature": {"labels_per_image": 2}})
    yield Cell(base, {"feature": {"labels_per_image": 2, "combine": "random"}})


def _strong(base: str) -> Iterator[Cell]:
    yield Cell(base, {})
    yield Cell(base, {"feature": {}})
    yield Cell(base, {"feature": HEAVY})
    yield Cell(base, {"soft": {}})
    yield Cell(base, {"soft": MIXED})
    yield Cell(base, {"feature": HEAVY, "soft": {}})
    yield Cell(base, {"feature": HEAVY, "soft": MIXED})
    yield Cell(base, {"attention_spatial": {}})
    for control in ("permuted", "noise", "zero"):
        yield Cell(base, {"feature": HEAVY}, control)


def _learned(base: str) -> Iterator[Cell]:
    yield Cell(base, {"feature": LEARN})
    yield Cell(base, {"feature": LEARN}, "noise of the same drift")
    yield Cell(base, {"feature": LEARN | {"label_networks": "trained", "outer_loops": 1}})
    yield Cell(base, {"feature": LEARN | {"label_task_weight": 5.0}})
    yield Cell(base, {"feature": LEARN | {"schedule": "alternating"}})
    yield Cell(base, {"feature": LEARN | {"schedule": "joint"}})


def _unrolled(base: str) -> Iterator[Cell]:
    through = HEAVY | {"learning": "unrolled", "unrolled_updates": 200}
    yield Cell(base, {"feature": through})
    yield Cell(base, {"feature": through}, "noise of the same drift")
    yield Cell(base, {"feature": through | {"regression_weight": 10.0, "task_weight": 1.0}})
    yield Cell(base, {"feature": through | {"unrolled_window": 20, "unrolled_updates": 100}})
    yield Cell(base, {"feature": through | {"label_init": "noise"}})
    yield Cell(base, {"attention_spatial": {"learning": "unrolled", "unrolled_updates": 200}})
    for start in (0.0, 0.9):
        own = {"learning": "unrolled", "unrolled_updates": 200, "hard_label_weight": start}
        yield Cell(base, {"soft": own})


def _ten(base: str) -> Iterator[Cell]:
    yield Cell(base, {})
    yield Cell(base, {"soft": {}})
    yield Cell(base, {"feature": {}})
    yield Cell(base, {"feature": {"regression_weight": 50.0}})
    yield Cell(base, {"feature": {}, "soft": {}})
    yield Cell(base, {"feature": {"regression_weight": 50.0}, "soft": {}})
    yield Cell(base, {"feature": {"regression_weight": 50.0, "storage": "int8"}, "soft": {}})
    yield Cell(base, {"feature": {"regression_weight": 50.0}, "soft": {"temperature": 4.0}})
    yield Cell(base, {"feature": HEAVY, "soft": {}})
    yield Cell(base, {"feature": HEAVY, "soft": {"temperature": 4.0}})
    yield Cell(base, {"attention_channel": {"regression_weight": 100.0}, "soft": {}})
    for control in ("permuted", "noise"):
        yield Cell(base, {"feature": {"regression_weight": 50.0}, "soft": {}}, control)


def _tiled(base: str) -> Iterator[Cell]:
    strong = {"regression_weight": 50.0, "storage": "int8"}
    yield Cell(base, {})
    yield Cell(base, {"feature": strong, "soft": {}})
    yield Cell(base, {"feature": strong})
    yield Cell(base, {"soft": {}})
    yield Cell(base, {"feature": strong, "soft": {}}, "permuted")


class Search:
    """The data without its held-out part, and what has been made from it."""

    def __init__(self, dataset: Path, work: Path) -> None:
        self.work = work
        self.source = hold_out(load_prepared(dataset))
        self.runtime = Runtime.choose("cpu")

    def context(self, base: Base) -> Context:
        return Context(
            train=self.source.train,
            facts=self.source.facts,
            images_per_class=base.images_per_class,
            network="ConvNetD3",
            streams=Streams(0),
            runtime=self.runtime,
            assets=Assets(self.work / "assets"),
            on_prepare=_show,
        )

    def base_set(self, name: str) -> CondensedSet:
        """The base method's images, made once and kept."""
        path = self.work / f"{re.sub('[^a-z0-9]+', '-', name)}.safetensors"
        if not path.exists():
            base = BASES[name]
            entry, ctx = METHODS.get(base.method), self.context(base)
            method = entry.target(entry.options.model_validate(base.options))
            state, total = method.init(ctx), method.total_steps(ctx)
            for number in range(total):
                method.step(state, number, ctx)
                _show(number + 1, total, name)
            save_tensors(path, *to_tensors(method.finish(state, ctx)))
        return from_tensors(*load_tensors(path))

    def labelled(self, cell: Cell) -> tuple[CondensedSet, dict[str, float]]:
        """The base set with the cell's labels, and what learning them reported."""
        condensed, ctx = self.base_set(cell.base), self.context(BASES[cell.base])
        metrics: dict[str, float] = {}
        for name, options in cell.labels.items():
            entry = PRIVILEGED_TYPES.get(name)
            exact = {} if name == "soft" else {"storage": "float32"}
            kind = entry.target(entry.options.model_validate(exact | options))
            state, total = kind.init(condensed.as_seen(), ctx), kind.total_steps(ctx)
            for number in range(total):
                kind.step(state, condensed, number, ctx)
                _show(number + 1, total, f"learning {name}")
            made = kind.finish(state)
            start = kind.assigned(state)
            labels = spoiled(made.labels, start, cell.control, ctx.facts.num_classes)
            images = condensed.images if made.images is None else made.images
            condensed = replace(
                condensed, images=images, privileged=(*condensed.privileged, labels)
            )
            metrics |= {f"{name}_{key}": value for key, value in made.metrics.items()}
        return condensed, metrics

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Make the cell's set and train its students."""
        began, base = time.monotonic(), BASES[cell.base]
        condensed, metrics = self.labelled(cell)
        augmentation = augmentation_of(base.protocol, self.source.facts.name)
        recipe = Recipe(default_epochs(base.protocol), augmentation=augmentation)

        def student(seed: int) -> float:
            trial = Trial("ConvNetD3", recipe, seed)
            return measure(trial, condensed, self.source, self.runtime).accuracy

        runs = self.runtime.map(student, range(base.students))
        size = stored_bytes(condensed)
        return {
            "base": cell.base,
            "labels": cell.labels,
            "control": cell.control,
            "runs": runs,
            "mean": fmean(runs),
            "std": stdev(runs),
            "bytes": {"images": size.images, "labels": size.labels, **size.privileged},
            "metrics": metrics,
            "seconds": round(time.monotonic() - began, 1),
        }


def hold_out(source: ImageDataset) -> ImageDataset:
    """The training split alone, every tenth image of each class in the place of a test set."""
    members = [source.train.of_class(label) for label in range(source.facts.num_classes)]
    held = torch.cat([own[::HELD_OUT] for own in members])
    keep = torch.ones(len(source.train), dtype=torch.bool)
    keep[held] = False
    train = Split(source.train.images[keep], source.train.labels[keep])
    test = Split(source.train.images[held], source.train.labels[held])
    counts = train.count_per_class(source.facts.num_classes)
    facts = source.facts.model_copy(
        update={"train_per_class": counts, "num_test": len(test), "fingerprint": ""}
    )
    return ImageDataset(facts, train, test)


def spoiled(labels: Any, start: Any, control: str, num_classes: int) -> Any:
    """Labels as they are, or as a control: what is left of the gain when their content is gone."""
    if not control or not isinstance(labels, FeatureLabels):
        return labels
    values, draw = labels.values, Streams(0).generator("control")
    noise = torch.randn(values.shape, generator=draw)
    controls: dict[str, Tensor] = {
        "permuted": values.roll(len(values) // num_classes, 0),
        "noise": values.mean() + values.std() * noise,
        "zero": torch.zeros_like(values),
        "noise of the same drift": start.values
        + noise * (values - start.values).square().mean().sqrt(),
    }
    return replace(labels, values=controls[control])


def key_of(cell: Cell) -> str:
    """What identifies a cell in the results."""
    return json.dumps([cell.base, cell.labels, cell.control], sort_keys=True)


def _show(step: int, total: int, what: str) -> None:
    if step == total or step % max(total // 10, 1) == 0:
        print(f"    {what}: {step}/{total}", flush=True)


def main() -> None:
    """Measure every cell that the results do not have yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True, help="canonical dataset file")
    parser.add_argument("--work", type=Path, default=Path("var/search"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/label_search.json"))
    parser.add_argument("--only", default="", help="regular expression on a cell's JSON")
    given = parser.parse_args()
    search = Search(given.dataset, given.work)
    found: dict[str, Any] = {"environment": describe(search.runtime), "cells": {}}
    if given.out.exists():
        found = json.loads(given.out.read_text())
    given.out.parent.mkdir(parents=True, exist_ok=True)
    wanted = [c for c in cells() if re.search(given.only, key_of(c))]
    for number, cell in enumerate(wanted, start=1):
        if key_of(cell) in found["cells"]:
            continue
        result = search.measure(cell)
        found["cells"][key_of(cell)] = result
        given.out.write_text(json.dumps(found, indent=1) + "\n")
        score = f"{100 * result['mean']:5.2f} +- {100 * result['std']:.2f}"
        print(
            f"{number}/{len(wanted)} {score} (n={len(result['runs'])}) {key_of(cell)}", flush=True
        )


if __name__ == "__main__":
    main()
