"""Seconds and memory of coreset selection: ours against plain implementations of the same rules.

The plain versions are written as the definitions read: gradients of the last layer in full, every
candidate looked at in every step, distances to all picks computed again. Features are random and
of the shape a ResNet-18 gives for CIFAR-10, 50,000 x 512; a class has 5000 of them. Each
measurement runs in a process of its own and reports how far its memory grew beyond the features.
Processor seconds are given beside seconds and make the ratio, for machines that others share.

    python -m benchmarks.coreset_selection
    python -m benchmarks.coreset_selection --smaller 20    # a trial: sizes and picks divided by 20
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.machine import describe
from dcpi_core.compute import Runtime
from dcpi_core.ops.validation_gain import Validation
from dcpi_core.registry import METHODS
from dcpi_core.rng import Streams
from dcpi_core.signals import Signals

CLASSES, WIDTH = 10, 512


class Case(NamedTuple):
    """A rule on n images, of which it picks so many."""

    rule: str
    size: int
    count: int
    plain: bool = True

    def smaller(self, times: int) -> "Case":
        """The same with so many times fewer images and picks."""
        return self._replace(size=self.size // times, count=max(1, self.count // times))


SCORES = ("random", "least_confidence", "entropy", "margin", "forgetting", "el2n", "grand")
"""Rules that look at each image once: there is nothing plainer to compare them with."""

CASES = (
    *(Case(rule, 50_000, 500, plain=False) for rule in SCORES),
    Case("herding", 50_000, 500, plain=False),  # minutes; so is the next
    Case("k_center", 50_000, 500, plain=False),
    Case("graph_cut", 50_000, 500, plain=False),  # its matrix would take 10 GB
    Case("gradmatch", 50_000, 500, plain=False),  # its gradients would take 1 GB, in float32
    Case("herding", 5000, 500),
    Case("k_center", 5000, 500),  # the plain one is quadratic in the picks
    Case("facility_location", 5000, 50),
    Case("facility_location", 5000, 500),
    Case("craig", 5000, 50),
    Case("craig", 5000, 500),
    Case("graph_cut", 5000, 500),
    Case("gradmatch", 5000, 500),
    Case("glister", 5000, 50),
    Case("glister", 5000, 500, plain=False),  # minutes
)


def signals(size: int) -> Signals:
    """Features around twenty centres, and logits that mostly favour the class."""
    draw = Streams(0).generator("benchmark")
    centres = torch.randn(20, WIDTH, generator=draw)
    features = torch.randn(size, WIDTH, generator=draw)
    for number, centre in enumerate(centres):  # without a copy that would hide what selection takes
        features[number::20] += centre
    features.relu_()
    weight = torch.randn(WIDTH, CLASSES, generator=draw) / WIDTH**0.5
    logits = features @ weight
    logits[:, 0] += 2
    chosen = slice(0, min(2000, size))
    judged = torch.arange(len(features[chosen])) % CLASSES
    validation = Validation(logits[chosen], judged, features[chosen] + centres[0])
    lengths = torch.rand(2, size, generator=draw, dtype=torch.float64)
    return replace(
        Signals.of_labels(torch.zeros(size, dtype=torch.int64)),
        features=features,
        inputs=features,
        logits=logits,
        forgetting=torch.randint(6, (size,), generator=draw),
        learned=torch.rand(size, generator=draw) > 0.05,
        el2n=lengths[0],
        grand=lengths[1],
        validation=validation,
        held_out=torch.zeros(size, dtype=torch.bool),
    )


def ours(case: Case, found: Signals) -> Tensor:
    entry = METHODS.get(case.rule)
    draw = Streams(0).generator("selection")
    picked: Tensor = entry.target(entry.options()).pick(found, case.count, draw)
    return picked


def full_gradients(logits: Tensor, labels: Tensor, inputs: Tensor) -> Tensor:
    error = logits.softmax(1) - F.one_hot(labels, CLASSES)
    read = torch.cat([inputs, torch.ones(len(inputs), 1)], 1)
    return (error.unsqueeze(2) * read.unsqueeze(1)).flatten(1)


def gradients_of(found: Signals) -> Tensor:
    return full_gradients(found.logits, found.labels, found.inputs)


def plain_herding(found: Signals, count: int) -> list[int]:
    rows = found.features
    picked: list[int] = []
    while len(picked) < count:
        total = rows[picked].sum(0)
        apart = ((total + rows) / (len(picked) + 1) - rows.mean(0)).norm(dim=1)
        apart[picked] = torch.inf
        picked.append(int(apart.argmin()))
    return picked


def plain_k_center(found: Signals, count: int) -> list[int]:
    rows = found.features
    picked = [int((rows - rows.mean(0)).norm(dim=1).argmin())]
    while len(picked) < count:
        nearest = torch.cdist(rows, rows[picked]).amin(1)
        nearest[picked] = -1
        picked.append(int(nearest.argmax()))
    return picked


def greedy_cover(similarity: Tensor, count: int) -> list[int]:
    picked: list[int] = []
    covered = torch.zeros(len(similarity))
    while len(picked) < count:
        gains = torch.maximum(similarity, covered.unsqueeze(1)).sum(0)
        gains[picked] = -1
        picked.append(int(gains.argmax()))
        covered = torch.maximum(covered, similarity[:, picked[-1]])
    return picked


def plain_facility_location(found: Signals, count: int) -> list[int]:
    unit = F.normalize(gradients_of(found))
    return greedy_cover((1 + unit @ unit.T) / 2, count)


def plain_craig(found: Signals, count: int) -> list[int]:
    rows = gradients_of(found)
    apart = torch.cdist(rows, rows)
    return greedy_cover(apart.max() - apart, count)


def plain_graph_cut(found: Signals, count: int) -> list[int]:
    unit = F.normalize(gradients_of(found))
    similarity = (1 + unit @ unit.T) / 2
    picked: list[int] = []
    while len(picked) < count:
        balance = len(similarity) / (len(picked) + 1)  # twice the weight of the second sum
        gains = similarity.sum(0) - balance * similarity[picked].sum(0)
        gains[picked] = -torch.inf
        picked.append(int(gains.argmax()))
    return picked


def plain_gradmatch(found: Signals, count: int) -> list[int]:
    rows = gradients_of(found)
    mean = rows.mean(0)
    ridge = 1e-3 * rows.square().sum(1).mean()
    residual, picked = mean, list[int]()
    while len(picked) < count:
        gains = rows @ residual
        gains[picked] = -torch.inf
        picked.append(int(gains.argmax()))
        own = rows[picked]
        gram = own @ own.T + ridge * torch.eye(len(own))
        residual = mean - torch.linalg.solve(gram, own @ mean) @ own
    return picked


def plain_glister(found: Signals, count: int) -> list[int]:
    assert found.validation is not None
    rows, there = gradients_of(found), found.validation
    read = torch.cat([there.inputs, torch.ones(len(there.inputs), 1)], 1)
    change, picked = torch.zeros(CLASSES, WIDTH + 1), list[int]()
    while len(picked) < count:
        logits = there.logits + read @ change.T
        gains = rows @ full_gradients(logits, there.labels, there.inputs).mean(0)
        gains[picked] = -torch.inf
        picked.append(int(gains.argmax()))
        change -= 0.01 * rows[picked[-1]].view_as(change)
    return picked


PLAIN: dict[str, Callable[[Signals, int], list[int]]] = {
    "herding": plain_herding,
    "k_center": plain_k_center,
    "facility_location": plain_facility_location,
    "craig": plain_craig,
    "graph_cut": plain_graph_cut,
    "gradmatch": plain_gradmatch,
    "glister": plain_glister,
}


def measure(case: Case, side: str) -> dict[str, object]:
    """One selection: seconds, growth of the process in MB, and the picks."""
    found = signals(case.size)
    METHODS.discover()
    before = _peak_megabytes()
    began, worked = time.perf_counter(), time.process_time()
    picked = ours(case, found).tolist() if side == "ours" else PLAIN[case.rule](found, case.count)
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - worked,
        "megabytes": _peak_megabytes() - before,
        "picked": picked,
    }


def compare(number: int, smaller: int) -> dict[str, object]:
    """Both sides of a case, or only ours."""
    case = CASES[number].smaller(smaller)
    mine = _in_own_process(number, "ours", smaller)
    result = {
        "rule": case.rule,
        "images": case.size,
        "picked": case.count,
        "seconds": mine["seconds"],
        "cpu_seconds": mine["cpu_seconds"],
        "megabytes": mine["megabytes"],
    }
    if case.plain:
        other = _in_own_process(number, "plain", smaller)
        pairs = zip(mine["picked"], other["picked"], strict=True)
        result |= {
            "plain_seconds": other["seconds"],
            "plain_cpu_seconds": other["cpu_seconds"],
            "plain_megabytes": other["megabytes"],
            "times_faster": other["cpu_seconds"] / mine["cpu_seconds"],
            "same_picks_until": next((at for at, (a, b) in enumerate(pairs) if a != b), case.count),
        }
    return result


def main() -> None:
    """Measure every case, print and optionally save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the result as JSON")
    parser.add_argument("--smaller", type=int, default=1, help="divide sizes, for a trial")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=("plain", "ours"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(measure(CASES[given.case].smaller(given.smaller), given.side)))
        return
    environment = describe(Runtime.choose("cpu", torch.get_num_threads()))
    result: dict[str, Any] = {
        "benchmark": f"coreset selection, {WIDTH} features, {CLASSES} classes",
        "environment": environment,
        "load_average": os.getloadavg(),  # of the machine, which may be shared
        "cases": [],
    }
    for number in range(len(CASES)):
        result["cases"].append(compare(number, given.smaller))
        print(json.dumps(result["cases"][-1]), flush=True)
        if given.out:  # after every case: all of them take minutes
            given.out.write_text(json.dumps(result, indent=1) + "\n")


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _in_own_process(number: int, side: str, smaller: int) -> dict[str, list[int] | float]:
    command = [sys.executable, "-m", "benchmarks.coreset_selection", "--case", str(number)]
    command += ["--side", side, "--smaller", str(smaller)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, list[int] | float] = json.loads(output.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
