"""A queue of networks that are trained on real data while the images are learned.

All of it is state: the networks' tensors are stacked, oldest first, so that a checkpoint holds
them like any other tensor.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from pydantic import Field
from torch import Tensor

from dcpi_core.compute import sent
from dcpi_core.context import Context
from dcpi_core.matching import network_state
from dcpi_core.methods.matching.base.images import ImageState
from dcpi_core.networks import Network
from dcpi_core.ops.parameters import on_host
from dcpi_core.spec.base import Options
from dcpi_core.training import apply_gradients, gradients, sgd

BATCH = 256
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4


class QueueOptions(Options):
    """How many networks there are and how they are trained."""

    queue_length: int = Field(100, ge=1, le=1000, description="networks kept, the oldest go first")
    queue_start: int = Field(3, ge=1, le=1000, description="networks before the first step")
    new_network_every: int = Field(30, ge=1, le=100_000, description="steps between new networks")
    networks_trained: int = Field(2, ge=0, le=100, description="networks trained in each step")
    training_steps: int = Field(10, ge=0, le=10_000, description="batches of 256 for each of them")
    accuracy_steps: int = Field(
        100, ge=1, le=200_000, description="steps after which accuracies are counted anew"
    )
    network_learning_rate: float = Field(0.01, gt=0, le=10)


@dataclass
class QueueState(ImageState):
    """Images and the queue.

    ``weights`` are the networks' states and ``momenta`` their optimisers', stacked by name;
    ``hits`` of ``seen`` training images were classified correctly while a network was trained, both
    since they were last counted anew.
    """

    weights: dict[str, Tensor] = field(default_factory=dict)
    momenta: dict[str, Tensor] = field(default_factory=dict)
    hits: list[int] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)


def push(state: QueueState, network: Network, limit: int) -> None:
    """Append a fresh network and drop the oldest above ``limit``."""
    zeros = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    state.weights = _appended(state.weights, network_state(network), limit)
    state.momenta = _appended(state.momenta, zeros, limit)
    state.hits = [*state.hits, 0][-limit:]
    state.seen = [*state.seen, 0][-limit:]


def network_at(state: QueueState, index: int, ctx: Context) -> Network:
    """A copy of a network of the queue, on the device, in training mode."""
    network = ctx.fresh_network("queue_shell")
    own = {name: sent(w[index], ctx.runtime.device) for name, w in state.weights.items()}
    network.load_state_dict(own)
    return network


def accuracy_of(state: QueueState, index: int) -> float:
    """Running training accuracy of a network in [0, 1]; 0 while nothing has been counted."""
    return state.hits[index] / state.seen[index] if state.seen[index] else 0.0


def count_anew(state: QueueState) -> None:
    """Forget every network's accuracy, as the published code does whenever it evaluates."""
    state.hits = [0] * len(state.hits)
    state.seen = [0] * len(state.seen)


def train(
    state: QueueState, chosen: Sequence[int], number: int, options: QueueOptions, ctx: Context
) -> None:
    """Train the chosen networks for ``training_steps`` batches of real images each.

    As published: without augmentation, SGD with momentum 0.9 and weight decay 5e-4.
    """

    def trained(index: int) -> tuple[Network, dict[str, Tensor], int, int]:
        network = network_at(state, index, ctx)
        parameters = list(network.parameters())
        optimiser = sgd(parameters, options.network_learning_rate, MOMENTUM, WEIGHT_DECAY)
        for name, parameter in network.named_parameters():
            momentum = sent(state.momenta[name][index], parameter.device).clone()
            optimiser.state[parameter]["momentum_buffer"] = momentum
        right: list[Tensor] = []  # counted at the end: a GPU would have to be waited for at each
        for step in range(options.training_steps):
            draw = ctx.streams.generator("queue_batch", number, index, step)
            order = torch.randperm(len(ctx.train), generator=draw)[:BATCH]
            labels = sent(ctx.train.labels[order], ctx.runtime.device)
            found, result = gradients(network, ctx.normalised(order), labels, ctx.runtime)
            apply_gradients(parameters, optimiser, found)
            right.append(result.logits.argmax(1) == labels)
        momenta = {
            name: optimiser.state[parameter]["momentum_buffer"]
            for name, parameter in network.named_parameters()
        }
        hits = int(sum(found.sum() for found in right))
        return network, momenta, hits, sum(len(found) for found in right)

    for index, (network, momenta, hits, seen) in zip(
        chosen, ctx.runtime.map(trained, chosen), strict=True
    ):
        _put(state.weights, index, network_state(network))
        _put(state.momenta, index, momenta)
        state.hits[index] += hits
        state.seen[index] += seen


def _appended(stacked: dict[str, Tensor], new: dict[str, Tensor], limit: int) -> dict[str, Tensor]:
    found = {}
    for name, value in on_host(new).items():
        own = value.unsqueeze(0)
        found[name] = torch.cat([stacked[name], own])[-limit:] if stacked else own.clone()
    return found


def _put(stacked: dict[str, Tensor], index: int, new: dict[str, Tensor]) -> None:
    for name, value in on_host(new).items():
        stacked[name][index] = value
