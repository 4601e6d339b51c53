"""Seconds per DC iteration: ours against a plain eager float32 loop, in one run.

The plain loop is written in the way the method was published: one class after the other, library
layers, autograd for everything. Both see the same network, the same real batches and the same
synthetic images, so their losses have to agree. Each side runs in a process of its own, because
our engine tunes the memory allocator, from which the plain loop would profit too; the two take
turns, so that a change in the machine's speed meets both.

    python -m benchmarks.dc_iteration --rounds 5
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.machine import describe
from dcpi_core.compute import Runtime
from dcpi_core.context import Context
from dcpi_core.datasets.base import Split, normalise
from dcpi_core.methods.matching.base import GradientMatchingState
from dcpi_core.methods.matching.dc import DC, DCOptions
from dcpi_core.ops.distances import gradient_distance
from dcpi_core.prepared import Assets
from dcpi_core.rng import Streams
from dcpi_core.spec.dataset import DatasetFacts, License

CLASSES = 10


def problem(runtime: Runtime, images_per_class: int, side: int) -> Context:
    """A CIFAR-shaped training set of noise around one mean image per class."""
    streams = Streams(0)
    draw = streams.generator("benchmark")
    centres = torch.rand(CLASSES, 3, side, side, generator=draw)
    noise = torch.rand(CLASSES, 300, 3, side, side, generator=draw)
    images = ((centres[:, None] + noise) * 127).to(torch.uint8).flatten(0, 1)
    labels = torch.arange(CLASSES).repeat_interleave(300)
    facts = DatasetFacts(
        name="benchmark",
        title="noise around one image per class",
        classes=tuple(str(label) for label in range(CLASSES)),
        train_per_class=(300,) * CLASSES,
        num_test=1,
        channels=3,
        height=side,
        width=side,
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        license=License(name="none"),
    )
    return Context(
        train=Split(images, labels),
        facts=facts,
        images_per_class=images_per_class,
        network="ConvNetD3",
        streams=streams,
        runtime=runtime,
        assets=Assets(Path("unused")),
    )


def plain_step(
    network: nn.Module, images: Tensor, number: int, ctx: Context
) -> tuple[float, Tensor]:
    """One image update the published way; returns the loss and the image gradient."""
    images = images.detach().requires_grad_()
    parameters = list(network.parameters())
    total = torch.zeros(())
    for label, own in enumerate(images.split(ctx.images_per_class)):
        members = ctx.train.of_class(label)
        draw = ctx.streams.generator("real_batch", label, number)
        index = members[torch.randperm(len(members), generator=draw)[:256]]
        real = normalise(ctx.train.images[index], ctx.facts)
        targets = torch.full((len(real),), label)
        loss = F.cross_entropy(network(real), targets)
        wanted = [g.detach() for g in torch.autograd.grad(loss, parameters)]
        loss = F.cross_entropy(network(own), targets[: len(own)])
        found = torch.autograd.grad(loss, parameters, create_graph=True)
        total = total + gradient_distance(found, wanted)
    (gradient,) = torch.autograd.grad(total, images)
    return float(total), gradient


def measure(side: str, images_per_class: int, iterations: int) -> dict[str, list[float]]:
    """Seconds and loss of each iteration of one side; the first iteration warms up."""
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    plain = Runtime(torch.device("cpu"), threads, None)
    runtime = plain if side == "plain" else Runtime.choose("cpu")
    ctx = problem(runtime, images_per_class, 32)
    method = DC(DCOptions(iterations=iterations + 1))
    state: GradientMatchingState = method.init(ctx)
    seconds, losses = [], []
    for number in range(iterations + 1):
        began = time.perf_counter()
        if side == "plain":
            network = ctx.fresh_network("network", number)
            loss, gradient = plain_step(network, state.images, number, ctx)
            state.velocity = 0.5 * state.velocity + gradient
            state.images = state.images - 0.1 * state.velocity
        else:
            loss = method.step(state, number, ctx)["loss"]
        seconds.append(time.perf_counter() - began)
        losses.append(loss)
    return {"seconds": seconds[1:], "losses": losses}


def main() -> None:
    """Take turns, compare, print and optionally save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=2, help="per round")
    parser.add_argument("--images-per-class", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the result as JSON")
    parser.add_argument("--side", choices=("plain", "ours"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(measure(given.side, given.images_per_class, given.iterations)))
        return
    found: dict[str, list[dict[str, list[float]]]] = {"plain": [], "ours": []}
    for turn in range(given.rounds):
        for side, runs in found.items():
            runs.append(_in_own_process(side, given.images_per_class, given.iterations))
            print(f"round {turn + 1} {side:5}: {min(runs[-1]['seconds']):.2f} s per iteration")
    result = summarise(found, given.images_per_class)
    print(json.dumps(result, indent=1))
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n")


def summarise(
    found: dict[str, list[dict[str, list[float]]]], images_per_class: int
) -> dict[str, object]:
    """Medians, the ratio round by round, and how far the losses are apart."""
    medians = {
        side: [statistics.median(run["seconds"]) for run in runs] for side, runs in found.items()
    }
    ratios = [plain / ours for plain, ours in zip(medians["plain"], medians["ours"], strict=True)]
    apart = max(
        abs(a - b) / a
        for plain, ours in zip(found["plain"], found["ours"], strict=True)
        for a, b in zip(plain["losses"], ours["losses"], strict=True)
    )
    return {
        "benchmark": "DC iteration, ConvNetD3, 10 classes, 3x32x32, 256 real images per class",
        "images_per_class": images_per_class,
        "environment": describe(Runtime.choose("cpu")),
        "seconds_plain": [run["seconds"] for run in found["plain"]],
        "seconds_ours": [run["seconds"] for run in found["ours"]],
        "losses_plain": found["plain"][0]["losses"],
        "losses_ours": found["ours"][0]["losses"],
        "ratio_per_round": ratios,
        "ratio_median": statistics.median(ratios),
        "largest_relative_loss_difference": apart,
    }


def _in_own_process(side: str, images_per_class: int, iterations: int) -> dict[str, list[float]]:
    command = [sys.executable, "-m", "benchmarks.dc_iteration", "--side", side]
    command += ["--images-per-class", str(images_per_class), "--iterations", str(iterations)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, list[float]] = json.loads(output.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
