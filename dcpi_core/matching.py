"""Gradient matching, class by class: what DC and the labels learned with it have in common.

For each class, the gradient of a network's loss on real images is compared with its gradient on
synthetic ones (Zhao et al., ICLR 2021). Classes touch different images, so they are computed side
by side and the result equals that of the joint loss.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from dcpi_core.compute import Runtime, sent
from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context
from dcpi_core.networks import Network
from dcpi_core.ops.augment import augment
from dcpi_core.ops.distances import gradient_distance
from dcpi_core.ops.siamese import Draw, seen_through
from dcpi_core.rng import Streams
from dcpi_core.spec.base import Options
from dcpi_core.spec.catalog import Preset
from dcpi_core.spec.protocols import Augmentation
from dcpi_core.training import apply_gradients, gradients, has_batch_norm, sgd, trainable

BATCH_NORM_IMAGES = 16  # per class, to set the statistics of a fresh network


class LoopOptions(Options):
    """The published loops: networks, updates per network, and training between updates."""

    iterations: int = Field(1000, ge=1, le=100_000, description="fresh networks")
    outer_loops: int = Field(1, ge=1, le=1000, description="updates per network")
    inner_epochs: int = Field(
        1, ge=0, le=1000, description="epochs on the condensed set between updates"
    )
    real_batch: int = Field(256, ge=1, le=8192, description="real images per class and update")
    network_learning_rate: float = Field(0.01, gt=0, le=10)

    def position(self, step: int) -> tuple[int, int]:
        """(network, update of that network) of a step counted from 0."""
        return divmod(step, self.outer_loops)


def _loops(at_least: int, at_most: int | None, outer: int, inner: int) -> Preset:
    return Preset(
        min_images_per_class=at_least,
        max_images_per_class=at_most,
        options={"outer_loops": outer, "inner_epochs": inner},
        source="loops of the published implementation; values between them take the one below",
    )


PUBLISHED_LOOPS = (
    _loops(1, 4, 1, 1),
    _loops(5, 9, 5, 10),
    _loops(10, 19, 10, 50),
    _loops(20, 29, 20, 25),
    _loops(30, 39, 30, 20),
    _loops(40, 49, 40, 15),
    _loops(50, None, 50, 10),
)


def real_gradients(
    network: Network, label: int, step: int, count: int, ctx: Context, draw: Draw | None = None
) -> list[Tensor]:
    """Gradient of the mean cross entropy on a fresh batch of real images of one class.

    ``draw`` is the augmentation that they are seen through, if any.
    """
    images = seen_through(ctx.real_batch(label, count, step), draw)
    return gradients(network, images, labels_of(label, images), ctx.runtime)[0]


def match_images(
    network: Network, images: Tensor, label: int, real: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Distance between synthetic and real gradients of one class, and its image gradient.

    Args:
        images: (n, C, H, W) synthetic images of class ``label``.
        real: gradient on real images, in parameter order.

    Returns:
        The distance (scalar, detached) and its gradient with respect to ``images``.
    """
    images = images.detach().requires_grad_()
    loss = F.cross_entropy(network(images), labels_of(label, images))
    synthetic = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
    distance = gradient_distance(synthetic, real)
    (image_gradient,) = torch.autograd.grad(distance, images)
    return distance.detach(), image_gradient


def train_between_updates(
    network: Network,
    condensed: CondensedSet,
    options: LoopOptions,
    streams: Streams,
    runtime: Runtime,
    augmentation: Augmentation = "none",
) -> None:
    """Train the network for ``inner_epochs`` on the condensed set: plain SGD, batches of 256."""
    network.train()
    images = sent(condensed.images, runtime.device)
    labels = sent(condensed.labels, runtime.device)
    privileged = [p.to(runtime.device).for_student(network, streams) for p in condensed.privileged]
    trained = trainable(network, privileged)
    optimiser = sgd(trained, options.network_learning_rate, 0.0, 0.0)
    for epoch in range(options.inner_epochs):
        order = torch.randperm(len(labels), generator=streams.generator("inner_order", epoch))
        for number, index in enumerate(sent(order, runtime.device).split(256)):
            draw = streams.generator("inner_labels", epoch, number)
            batch = [p.batch(index).for_batch(draw) for p in privileged]
            view = streams.generator("inner_augment", epoch, number)
            seen = augment(images[index], augmentation, view)
            found, _ = gradients(network, seen, labels[index], runtime, batch)
            apply_gradients(trained, optimiser, found)


def freeze_batch_norm(network: Network, step: int, ctx: Context) -> None:
    """Give batch-norm layers the statistics of real data and hold them fixed while matching.

    The published code keeps a tenth of the batch's statistics and nine tenths of the initial ones;
    here the layers get the batch's own, which is what freezing them is meant to provide.
    """
    if not has_batch_norm(network):
        return
    parts = [
        ctx.real_batch(label, BATCH_NORM_IMAGES, step, 1) for label in range(ctx.facts.num_classes)
    ]
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a cumulative average: exactly this batch
    network.train()
    with torch.no_grad():
        network(torch.cat(parts))
    network.eval()


def network_state(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the network's state, as a method's state keeps it."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def labels_of(label: int, images: Tensor) -> Tensor:
    """The labels (n,) of n images of one class, where the images are."""
    return torch.full((len(images),), label, device=images.device)
