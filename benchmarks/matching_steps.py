"""Seconds of a DC, DSA or DM step and of siamese augmentation alone, against plain eager loops.

The plain loops are written as the methods were published: one class after the other, library
layers, autograd for everything, augmentation with one parameter per image. Both sides see the same
networks, images and draws, so their losses have to agree. Each runs in a process of its own, since
our engine tunes the memory allocator, from which the plain loop would profit too; they take turns,
so that a change in the machine's speed meets both.

    python -m benchmarks.matching_steps --subject dm --rounds 5
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.machine import describe
from benchmarks.plain_augmentation import plain_apply
from dcpi_core.compute import Runtime
from dcpi_core.context import Context
from dcpi_core.datasets.base import Split, normalise
from dcpi_core.methods.base import AnyMethod
from dcpi_core.methods.matching.dc import DC, DCOptions
from dcpi_core.methods.matching.dm import DM, DMOptions
from dcpi_core.methods.matching.dsa import DSA, DSAOptions
from dcpi_core.networks import Network
from dcpi_core.ops.distances import gradient_distance
from dcpi_core.ops.siamese import OPERATIONS, Draw, siamese_draw
from dcpi_core.prepared import Assets
from dcpi_core.rng import Streams
from dcpi_core.spec.dataset import DatasetFacts, License

CLASSES = 10
REAL_BATCH = 256
SIDES = ("plain", "ours")

ClassLoss = Callable[[Network, Tensor, Tensor, int], Tensor]
"""Loss of one class: of a network, a real batch, the class's synthetic images, and the class."""


def problem(runtime: Runtime, images_per_class: int, size: int = 32) -> Context:
    """A CIFAR-shaped training set of noise around one mean image per class."""
    streams = Streams(0)
    draw = streams.generator("benchmark")
    centres = torch.rand(CLASSES, 3, size, size, generator=draw)
    noise = torch.rand(CLASSES, 300, 3, size, size, generator=draw)
    images = ((centres[:, None] + noise) * 127).to(torch.uint8).flatten(0, 1)
    labels = torch.arange(CLASSES).repeat_interleave(300)
    facts = DatasetFacts(
        name="benchmark",
        title="noise around one image per class",
        classes=tuple(str(label) for label in range(CLASSES)),
        train_per_class=(300,) * CLASSES,
        num_test=1,
        channels=3,
        height=size,
        width=size,
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


def dm_loss(network: Network, real: Tensor, own: Tensor, _: int) -> Tensor:
    """The published loss of one class: squared distance of the mean features."""
    wanted = network.features(real).detach().flatten(1)
    return ((wanted.mean(0) - network.features(own).flatten(1).mean(0)) ** 2).sum()


def gradient_loss(network: Network, real: Tensor, own: Tensor, label: int) -> Tensor:
    """The published loss of one class: distance of the two parameter gradients."""
    parameters, targets = list(network.parameters()), torch.full((len(real),), label)
    loss = F.cross_entropy(network(real), targets)
    wanted = [g.detach() for g in torch.autograd.grad(loss, parameters)]
    loss = F.cross_entropy(network(own), targets[: len(own)])
    return gradient_distance(torch.autograd.grad(loss, parameters, create_graph=True), wanted)


@dataclass(frozen=True)
class Step:
    """A method's step, and what it is in the published style."""

    title: str
    method: Callable[[int], AnyMethod]
    class_loss: ClassLoss
    image_learning_rate: float
    augmented: bool


REAL = "ConvNetD3, 10 classes, 3x32x32, 256 real images per class"
STEPS = {
    "dc": Step(
        f"DC iteration, {REAL}",
        lambda count: DC(DCOptions(iterations=count)),
        gradient_loss,
        image_learning_rate=0.1,
        augmented=False,
    ),
    "dsa": Step(
        f"DSA step, {REAL}",
        lambda count: DSA(DSAOptions(iterations=count)),
        gradient_loss,
        image_learning_rate=0.1,
        augmented=True,
    ),
    "dm": Step(
        f"DM step, {REAL}",
        lambda count: DM(DMOptions(iterations=count)),
        dm_loss,
        image_learning_rate=1.0,
        augmented=True,
    ),
}
PIPELINE = "siamese augmentation, each operation on 256 real and the synthetic images"


def plain_step(step: Step, images: Tensor, number: int, ctx: Context) -> tuple[float, Tensor]:
    """One image update the published way; returns the loss and the image gradient."""
    network = ctx.fresh_network("network", number)
    if step.class_loss is dm_loss:
        network.requires_grad_(False)
    images = images.detach().requires_grad_()
    total = torch.zeros(())
    for label, own in enumerate(images.split(ctx.images_per_class)):
        members = ctx.train.of_class(label)
        chosen = ctx.streams.generator("real_batch", label, number)
        index = members[torch.randperm(len(members), generator=chosen)[:REAL_BATCH]]
        real = normalise(ctx.train.images[index], ctx.facts)
        seen = own
        if step.augmented:
            draw = siamese_draw(OPERATIONS, ctx.streams.generator("siamese", label, number))
            real, seen = plain_apply(draw, real), plain_apply(draw, own)
        total = total + step.class_loss(network, real, seen, label)
    (gradient,) = torch.autograd.grad(total, images)
    return float(total.detach()), gradient


def measure_step(step: Step, side: str, per_class: int, steps: int) -> dict[str, list[float]]:
    """Seconds and loss of each step of one side; the first warms up."""
    ctx = problem(_runtime(side), per_class)
    method = step.method(steps + 1)
    state = method.init(ctx)
    seconds, losses = [], []
    for number in range(steps + 1):
        began = time.perf_counter()
        if side == "plain":
            loss, gradient = plain_step(step, state.images, number, ctx)
            state.velocity = 0.5 * state.velocity + gradient
            state.images = state.images - step.image_learning_rate * state.velocity
        else:
            loss = method.step(state, number, ctx)["loss"]
        seconds.append(time.perf_counter() - began)
        losses.append(loss)
    return {"seconds": seconds[1:], "losses": losses}


def measure_pipeline(side: str, per_class: int, steps: int) -> dict[str, list[float]]:
    """Augmentation alone: each operation once on a real batch, and both ways on synthetic images.

    One step is what six class updates do on average. Draws are made inside, as in training.
    """
    ctx = problem(_runtime(side), per_class)
    real = ctx.real_batch(0, REAL_BATCH, 0)
    own = ctx.real_batch(1, per_class, 0).requires_grad_()
    seconds, losses = [], []
    for number in range(steps + 1):
        began, total = time.perf_counter(), 0.0
        for position, name in enumerate(OPERATIONS):
            found = siamese_draw(OPERATIONS, ctx.streams.generator("siamese", position, number))
            draw = Draw(name, found.uniforms)  # every operation equally often
            apply = draw.apply if side == "ours" else (lambda x, d=draw: plain_apply(d, x))
            seen, own_seen = apply(real), apply(own)
            (gradient,) = torch.autograd.grad(own_seen, own, own_seen.detach())
            total += float(seen[:, :, ::8, ::8].square().sum() + gradient.square().sum())
        seconds.append(time.perf_counter() - began)
        losses.append(total)
    return {"seconds": seconds[1:], "losses": losses}


def measure(subject: str, side: str, per_class: int, steps: int) -> dict[str, list[float]]:
    """One side in this process."""
    if subject == "pipeline":
        return measure_pipeline(side, per_class, steps)
    return measure_step(STEPS[subject], side, per_class, steps)


def _runtime(side: str) -> Runtime:
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    # Choosing tunes the memory allocator, from which the plain loop would profit too.
    return Runtime(torch.device("cpu"), threads, None) if side == "plain" else Runtime.choose("cpu")


def main() -> None:
    """Take turns, compare, print and optionally save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subject", choices=(*STEPS, "pipeline"), required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="per round")
    parser.add_argument("--images-per-class", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the result as JSON")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    case = (given.subject, given.images_per_class, given.steps)
    if given.side:
        print(json.dumps(measure(given.subject, given.side, *case[1:])))
        return
    found: dict[str, list[dict[str, list[float]]]] = {side: [] for side in SIDES}
    for turn in range(given.rounds):
        for side, runs in found.items():
            runs.append(_in_own_process(side, *case))
            print(f"round {turn + 1} {side:5}: {min(runs[-1]['seconds']):.4f} s per step")
    result = summarise(found, given.subject, given.images_per_class)
    print(json.dumps(result, indent=1))
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n")


def summarise(
    found: dict[str, list[dict[str, list[float]]]], subject: str, per_class: int
) -> dict[str, Any]:
    """The ratio of the medians round by round, and how far the losses are apart."""
    medians = {
        side: [statistics.median(run["seconds"]) for run in runs] for side, runs in found.items()
    }
    ratios = [a / b for a, b in zip(medians["plain"], medians["ours"], strict=True)]
    losses = [
        (a, b)
        for plain, ours in zip(found["plain"], found["ours"], strict=True)
        for a, b in zip(plain["losses"], ours["losses"], strict=True)
    ]
    return {
        "benchmark": STEPS[subject].title if subject in STEPS else PIPELINE,
        "images_per_class": per_class,
        "environment": describe(Runtime.choose("cpu")),
        "seconds_plain": [run["seconds"] for run in found["plain"]],
        "seconds_ours": [run["seconds"] for run in found["ours"]],
        "losses_plain": found["plain"][0]["losses"],
        "losses_ours": found["ours"][0]["losses"],
        "ratio_per_round": ratios,
        "ratio_median": statistics.median(ratios),
        "largest_relative_loss_difference": max(abs(a - b) / abs(a) for a, b in losses),
    }


def _in_own_process(side: str, subject: str, per_class: int, steps: int) -> dict[str, list[float]]:
    command = [sys.executable, "-m", "benchmarks.matching_steps", "--side", side]
    command += ["--subject", subject, "--steps", str(steps)]
    command += ["--images-per-class", str(per_class)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, list[float]] = json.loads(output.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
