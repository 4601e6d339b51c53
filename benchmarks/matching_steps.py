"""Seconds of a DM step, a DSA step and of siamese augmentation alone, against plain eager loops.

The plain loops are written as the methods were published: one class after the other, library
layers, autograd for everything, augmentation with one parameter per image. Both sides see the same
networks, images and draws, so their losses have to agree. The sides take turns in processes of
their own.

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
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.dc_iteration import problem
from benchmarks.machine import describe
from benchmarks.plain_augmentation import plain_apply
from dcpi_core.compute import Runtime
from dcpi_core.context import Context
from dcpi_core.datasets.base import normalise
from dcpi_core.methods.base import AnyMethod
from dcpi_core.methods.matching.dm import DM, DMOptions
from dcpi_core.methods.matching.dsa import DSA, DSAOptions
from dcpi_core.networks import Network
from dcpi_core.ops.distances import gradient_distance
from dcpi_core.ops.siamese import OPERATIONS, Draw, siamese_draw

REAL_BATCH = 256
SIDES = ("plain", "ours")


def dm_loss(network: Network, real: Tensor, own: Tensor, _: int) -> Tensor:
    """The published loss of one class: squared distance of the mean features."""
    wanted = network.features(real).detach().flatten(1)
    return ((wanted.mean(0) - network.features(own).flatten(1).mean(0)) ** 2).sum()


def dsa_loss(network: Network, real: Tensor, own: Tensor, label: int) -> Tensor:
    """The published loss of one class: distance of the two parameter gradients."""
    parameters, targets = list(network.parameters()), torch.full((len(real),), label)
    loss = F.cross_entropy(network(real), targets)
    wanted = [g.detach() for g in torch.autograd.grad(loss, parameters)]
    loss = F.cross_entropy(network(own), targets[: len(own)])
    return gradient_distance(torch.autograd.grad(loss, parameters, create_graph=True), wanted)


def plain_step(
    class_loss: Callable[[Network, Tensor, Tensor, int], Tensor],
    images: Tensor,
    number: int,
    ctx: Context,
) -> tuple[float, Tensor]:
    """One image update the published way; returns the loss and the image gradient."""
    network = ctx.fresh_network("network", number)
    if class_loss is dm_loss:
        network.requires_grad_(False)
    images = images.detach().requires_grad_()
    total = torch.zeros(())
    for label, own in enumerate(images.split(ctx.images_per_class)):
        members = ctx.train.of_class(label)
        chosen = ctx.streams.generator("real_batch", label, number)
        index = members[torch.randperm(len(members), generator=chosen)[:REAL_BATCH]]
        real = normalise(ctx.train.images[index], ctx.facts)
        draw = siamese_draw(OPERATIONS, ctx.streams.generator("siamese", label, number))
        total = total + class_loss(network, plain_apply(draw, real), plain_apply(draw, own), label)
    (gradient,) = torch.autograd.grad(total, images)
    return float(total.detach()), gradient


def measure_step(name: str, side: str, per_class: int, steps: int) -> dict[str, list[float]]:
    """Seconds and loss of each step of one side; the first warms up."""
    ctx = problem(_runtime(side), per_class, 32)
    method: AnyMethod = (
        DM(DMOptions(iterations=steps + 1))
        if name == "dm"
        else DSA(DSAOptions(iterations=steps + 1))
    )
    rate = 1.0 if name == "dm" else 0.1
    state = method.init(ctx)
    seconds, losses = [], []
    for number in range(steps + 1):
        began = time.perf_counter()
        if side == "plain":
            class_loss = dm_loss if name == "dm" else dsa_loss
            loss, gradient = plain_step(class_loss, state.images, number, ctx)
            state.velocity = 0.5 * state.velocity + gradient
            state.images = state.images - rate * state.velocity
        else:
            loss = method.step(state, number, ctx)["loss"]
        seconds.append(time.perf_counter() - began)
        losses.append(loss)
    return {"seconds": seconds[1:], "losses": losses}


def measure_pipeline(side: str, per_class: int, steps: int) -> dict[str, list[float]]:
    """Augmentation alone: each operation once on a real batch, and both ways on synthetic images.

    One step is what six class updates do on average. Draws are made inside, as in training.
    """
    ctx = problem(_runtime(side), per_class, 32)
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


SUBJECTS: dict[str, str] = {
    "dm": "DM step, ConvNetD3, 10 classes, 3x32x32, 256 real images per class",
    "dsa": "DSA step, ConvNetD3, 10 classes, 3x32x32, 256 real images per class",
    "pipeline": "siamese augmentation, each operation on 256 real and the synthetic images",
}


def measure(subject: str, side: str, per_class: int, steps: int) -> dict[str, list[float]]:
    """One side in this process."""
    if subject == "pipeline":
        return measure_pipeline(side, per_class, steps)
    return measure_step(subject, side, per_class, steps)


def _runtime(side: str) -> Runtime:
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    # Choosing tunes the memory allocator, from which the plain loop would profit too.
    return Runtime(torch.device("cpu"), threads, None) if side == "plain" else Runtime.choose("cpu")


def main() -> None:
    """Take turns, compare, print and optionally save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subject", choices=tuple(SUBJECTS), required=True)
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
    losses = zip(found["plain"][0]["losses"], found["ours"][0]["losses"], strict=True)
    return {
        "benchmark": SUBJECTS[subject],
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
