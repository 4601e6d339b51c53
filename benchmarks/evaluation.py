"""Training several students on a condensed set: ours against one plain eager loop after another.

The plain loop is the published one: library layers, autograd, one student at a time. Both sides
train the same students (same initial weights, same order of the images) for the same number of
epochs, so their final losses have to agree.

    python -m benchmarks.evaluation --rounds 3
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.machine import describe
from dcpi_core.compute import Runtime
from dcpi_core.condensed import CondensedSet
from dcpi_core.networks import build
from dcpi_core.rng import Streams
from dcpi_core.training import Recipe, fit, predict

IMAGES, CLASSES, STUDENTS = 100, 10, 5


def problem() -> CondensedSet:
    """A hundred CIFAR-shaped images of noise in ten classes."""
    draw = Streams(0).generator("benchmark")
    labels = torch.arange(CLASSES).repeat_interleave(IMAGES // CLASSES)
    return CondensedSet(torch.randn(IMAGES, 3, 32, 32, generator=draw), labels)


def student(seed: int) -> Any:
    """A fresh ConvNetD3."""
    with Streams(seed).initialisation("student"):
        return build("ConvNetD3", 3, CLASSES, 32)


def plain(condensed: CondensedSet, recipe: Recipe) -> list[float]:
    """The published loop, one student after the other; final losses."""
    losses = []
    for seed in range(STUDENTS):
        network, streams = student(seed), Streams(seed)
        for epoch, rate in enumerate(recipe.learning_rates()):
            if epoch in (0, recipe.epochs // 2 + 2):
                optimiser = torch.optim.SGD(
                    network.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4
                )
            order = torch.randperm(IMAGES, generator=streams.generator("shuffle", epoch))
            for index in order.split(recipe.batch_size):
                optimiser.zero_grad()
                loss = F.cross_entropy(network(condensed.images[index]), condensed.labels[index])
                loss.backward()
                optimiser.step()
        losses.append(_loss(network, condensed))
    return losses


def ours(condensed: CondensedSet, recipe: Recipe) -> list[float]:
    """The library's way: students side by side."""
    runtime = Runtime.choose("cpu")

    def train(seed: int) -> float:
        network = fit(student(seed), condensed, recipe, streams=Streams(seed), runtime=runtime)
        pieces = predict(network, iter([condensed.images]), runtime)
        logits = torch.cat([logits for _, logits in pieces])
        return float(F.cross_entropy(logits, condensed.labels))

    # In groups, as the pipeline does it: a student left over has all threads to itself.
    losses: list[float] = []
    while len(losses) < STUDENTS:
        group = range(len(losses), min(len(losses) + runtime.side_by_side, STUDENTS))
        losses += runtime.map(train, group)
    return losses


@torch.no_grad()
def _loss(network: nn.Module, condensed: CondensedSet) -> float:
    return float(F.cross_entropy(network(condensed.images), condensed.labels))


def measure(side: str, epochs: int) -> dict[str, Any]:
    """Seconds, final losses and peak memory of one side, in a process of its own."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    condensed, train = problem(), {"plain": plain, "ours": ours}[side]
    train(condensed, Recipe(epochs=2))  # warm up
    began = time.perf_counter()
    losses = train(condensed, Recipe(epochs=epochs))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": [seconds], "losses": losses, "peak_mebibytes": peak}


def main() -> None:
    """Take turns, compare, print and optionally save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30, help="of 300; the ratio is the same")
    parser.add_argument("--out", type=Path, help="write the result as JSON")
    parser.add_argument("--side", choices=("plain", "ours"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(measure(given.side, given.epochs)))
        return
    found: dict[str, list[dict[str, Any]]] = {"plain": [], "ours": []}
    for turn in range(given.rounds):
        for side, runs in found.items():
            command = [sys.executable, "-m", "benchmarks.evaluation", "--side", side]
            command += ["--epochs", str(given.epochs)]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            runs.append(json.loads(output.splitlines()[-1]))
            print(f"round {turn + 1} {side:5}: {runs[-1]['seconds'][0]:.1f} s")
    result = summarise(found, given.epochs)
    print(json.dumps(result, indent=1))
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n")


def summarise(found: dict[str, list[dict[str, Any]]], epochs: int) -> dict[str, Any]:
    """The ratio round by round, peak memory, and how far the losses are apart."""
    pairs = list(zip(found["plain"], found["ours"], strict=True))
    ratios = [a["seconds"][0] / b["seconds"][0] for a, b in pairs]
    apart = max(
        abs(x - y) / x for a, b in pairs for x, y in zip(a["losses"], b["losses"], strict=True)
    )
    return {
        "benchmark": f"{STUDENTS} students (ConvNetD3) on {IMAGES} images, {epochs} epochs",
        "images_per_class": IMAGES // CLASSES,
        "environment": describe(Runtime.choose("cpu")),
        "seconds_plain": [run["seconds"] for run in found["plain"]],
        "seconds_ours": [run["seconds"] for run in found["ours"]],
        "ratio_per_round": ratios,
        "ratio_median": statistics.median(ratios),
        "largest_relative_loss_difference": apart,
        "peak_mebibytes": {
            side: max(run["peak_mebibytes"] for run in runs) for side, runs in found.items()
        },
    }


if __name__ == "__main__":
    main()
