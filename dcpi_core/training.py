"""The one training loop: on real data, on condensed sets, with and without privileged labels.

The default recipe is the protocol of Zhao et al. (ICLR 2021), which the field compares itself
under; ``docs/protocols.md`` says where published code deviates from its own description.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcpi_core.compute import Runtime, sent
from dcpi_core.condensed import CondensedSet, PrivilegedLabels, StudentOutput
from dcpi_core.datasets.base import Split, normalise
from dcpi_core.networks import Layer, Network, first_order_maps
from dcpi_core.ops.augment import augment
from dcpi_core.rng import Streams
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.errors import TrainingDiverged
from dcpi_core.spec.protocols import Augmentation

TEST_BATCH = 1024

OnStep = Callable[[int, int], None]
"""Called after each step with (steps done, steps in all); may raise to stop the training."""


@dataclass(frozen=True)
class Recipe:
    """How a student is trained on a condensed set.

    The published loop runs one epoch more than it says and, after epoch index ``epochs // 2 + 1``,
    divides the learning rate by ten and starts a new optimiser, which forgets its momentum.
    """

    epochs: int = 300
    batch_size: int = 256
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augmentation: Augmentation = "none"

    def learning_rates(self) -> list[float]:
        """Learning rate of every epoch."""
        high = self.epochs // 2 + 2
        total = self.epochs + 1
        return [self.learning_rate if e < high else 0.1 * self.learning_rate for e in range(total)]


def fit(
    network: Network,
    condensed: CondensedSet,
    recipe: Recipe | None = None,
    *,
    streams: Streams | None = None,
    runtime: Runtime | None = None,
    on_step: OnStep | None = None,
) -> Network:
    """Train ``network`` in place on a condensed set with all of its labels, and return it.

    Args:
        network: freshly initialised, on any device.
        condensed: images with hard and privileged labels.
        recipe: defaults to the published protocol with 300 epochs.
        streams: random streams for the order of the images; default: seed 0.
        runtime: where to compute; chosen automatically by default.
        on_step: called after each optimiser step.

    Raises:
        TrainingDiverged: the loss became NaN or infinite.
    """
    recipe, streams = recipe or Recipe(), streams or Streams(0)
    runtime, condensed = runtime or Runtime.choose(), condensed.as_seen()
    network.to(runtime.device).train()
    images, labels = (sent(own, runtime.device) for own in (condensed.images, condensed.labels))
    weights = None if condensed.weights is None else sent(condensed.weights, runtime.device)
    privileged = [p.to(runtime.device).for_student(network, streams) for p in condensed.privileged]
    trained = trainable(network, privileged)
    rates = recipe.learning_rates()
    steps_per_epoch = -(-len(labels) // recipe.batch_size)
    optimiser = sgd(trained, recipe.learning_rate, recipe.momentum, recipe.weight_decay)
    for epoch, rate in enumerate(rates):
        if epoch and rate != rates[epoch - 1]:
            optimiser = sgd(trained, rate, recipe.momentum, recipe.weight_decay)
        order = torch.randperm(len(labels), generator=streams.generator("shuffle", epoch))
        for number, index in enumerate(order.split(recipe.batch_size)):
            where = sent(index, runtime.device)
            draw = streams.generator("labels", epoch, number)
            batch = [p.batch(where).for_batch(draw) for p in privileged]
            view = streams.generator("augment", epoch, number)
            seen = augment(images[where], recipe.augmentation, view)
            counts = None if weights is None else weights[where]
            found, _ = gradients(network, seen, labels[where], runtime, batch, counts)
            apply_gradients(trained, optimiser, found)
            if on_step is not None:
                on_step(epoch * steps_per_epoch + number + 1, len(rates) * steps_per_epoch)
    require_finite(network)
    return network


def trainable(
    network: nn.Module, privileged: Sequence[PrivilegedLabels] = ()
) -> list[nn.Parameter]:
    """The network's parameters and those of layers that align it with its labels."""
    return [*network.parameters(), *(own for p in privileged for own in p.parameters())]


def sgd(
    parameters: Sequence[nn.Parameter], learning_rate: float, momentum: float, weight_decay: float
) -> torch.optim.SGD:
    """Stochastic gradient descent."""
    return torch.optim.SGD(
        parameters, lr=learning_rate, momentum=momentum, weight_decay=weight_decay
    )


class BatchResult(NamedTuple):
    """Loss (scalar), logits (n, K) and features (n, F, h, w) of a batch, detached."""

    loss: Tensor
    logits: Tensor
    features: Tensor


def objective(
    network: Network,
    images: Tensor,
    labels: Tensor,
    privileged: Sequence[PrivilegedLabels] = (),
) -> Tensor:
    """Mean loss of a batch: Eq. 5 of the paper, summed over all privileged types.

    Cross entropy with the hard labels, unless a privileged type replaces them, plus each type's
    own term. Differentiable once.
    """
    return _objective(network, images, labels, privileged)[0]


def _objective(
    network: Network,
    images: Tensor,
    labels: Tensor,
    privileged: Sequence[PrivilegedLabels],
    weights: Tensor | None = None,
) -> tuple[Tensor, StudentOutput]:
    output = student_output(network, images, [p.layer for p in privileged if p.layer])
    terms = [p.loss(output, labels) for p in privileged]
    if not any(p.replaces_hard_labels for p in privileged):
        terms.append(_cross_entropy(output.logits, labels, weights))
    return torch.stack(terms).sum(), output


def _cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over the batch; weights have mean one over the set, and are not scaled for a batch.

    So batches add up to the weighted mean over the set, as pieces add up to a batch.
    """
    if weights is None:
        return F.cross_entropy(logits, labels)
    return (weights * F.cross_entropy(logits, labels, reduction="none")).mean()


def student_output(network: Network, images: Tensor, layers: Sequence[Layer] = ()) -> StudentOutput:
    """Forward pass by the fastest way that can be differentiated once."""
    numbers = {network.layer_number(layer) for layer in layers}
    maps = first_order_maps(network, images, numbers)
    return StudentOutput(network, maps, network.classify(maps[network.num_layers]))


def gradients(
    network: Network,
    images: Tensor,
    labels: Tensor,
    runtime: Runtime,
    privileged: Sequence[PrivilegedLabels] = (),
    weights: Tensor | None = None,
) -> tuple[list[Tensor], BatchResult]:
    """Gradient of the batch's mean objective for every parameter, without a graph.

    Large batches are passed in pieces, side by side, which changes nothing but rounding; batch
    norm and losses that relate images to each other need the whole batch at once, and get it.

    Args:
        images: (n, C, H, W), normalised.
        labels: (n,).
        privileged: labels of the same n images.
        weights: (n,) how much the hard label of each counts; default: all alike.

    Returns:
        The gradients in the order of ``trainable``, and the loss and logits of the batch.
    """
    parameters = trainable(network, privileged)
    joint = (has_batch_norm(network) and network.training) or any(p.joint for p in privileged)
    pieces = [slice(0, len(labels))] if joint else list(runtime.chunks(len(labels)))

    def of_piece(piece: slice) -> tuple[tuple[Tensor, ...], BatchResult]:
        where = torch.arange(piece.start, piece.stop, device=images.device)
        batch = [p.batch(where) for p in privileged]
        counts = None if weights is None else weights[piece]
        loss, output = _objective(network, images[piece], labels[piece], batch, counts)
        loss = loss * (len(where) / len(labels))
        found = torch.autograd.grad(loss, parameters, materialize_grads=True)
        result = BatchResult(loss.detach(), output.logits.detach(), output.features.detach())
        return found, result

    parts = runtime.map(of_piece, pieces)
    total = [
        torch.stack(same).sum(0) if len(same) > 1 else same[0] for same in _by_parameter(parts)
    ]
    results = [result for _, result in parts]
    whole = BatchResult(
        torch.stack([result.loss for result in results]).sum(),
        torch.cat([result.logits for result in results]),
        torch.cat([result.features for result in results]),
    )
    return total, whole


def apply_gradients(
    parameters: Sequence[nn.Parameter], optimiser: torch.optim.Optimizer, found: list[Tensor]
) -> None:
    """One optimiser step with these gradients."""
    for parameter, gradient in zip(parameters, found, strict=True):
        parameter.grad = gradient
    optimiser.step()


def _by_parameter(
    parts: Sequence[tuple[tuple[Tensor, ...], BatchResult]],
) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(found for found, _ in parts), strict=True)


def predict(
    network: Network, batches: Iterator[Tensor], runtime: Runtime
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features and logits of each batch of normalised images, network in evaluation mode.

    Large batches are passed in pieces, side by side, and come out in these pieces, in order. Where
    nothing is side by side, a piece is computed when it is asked for.
    """
    network.eval()

    @torch.no_grad()  # in here, because every thread has a mode of its own
    def of_piece(images: Tensor) -> tuple[Tensor, Tensor]:
        output = student_output(network, sent(images, runtime.device))
        return output.features, output.logits

    for images in batches:
        pieces = [images[piece] for piece in runtime.chunks(len(images))]
        alone = runtime.side_by_side == 1
        yield from map(of_piece, pieces) if alone else runtime.map(of_piece, pieces)


def logits_on(network: Network, split: Split, facts: DatasetFacts, runtime: Runtime) -> Tensor:
    """Logits (n, K) of a trained network on these images, on the CPU; moves it to the device."""
    network.to(runtime.device)
    parts = split.images.split(TEST_BATCH)
    # Sent as bytes: a quarter of what the normalised images would be.
    batches = (normalise(sent(images, runtime.device), facts) for images in parts)
    return torch.cat([logits.cpu() for _, logits in predict(network, batches, runtime)])


def has_batch_norm(network: nn.Module) -> bool:
    """Whether the network's output depends on which images share a batch."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules())


def require_finite(network: nn.Module, what: str = "training") -> None:
    """Raise TrainingDiverged if a parameter is NaN or infinite."""
    finite = torch.stack([torch.isfinite(p).all() for p in network.parameters()])
    if not bool(finite.all()):
        raise TrainingDiverged(f"{what} diverged: a parameter became NaN or infinite")
