"""Contrastive gradient matching: the gradients of all classes together, after a warm-up.

Class by class, matching spends itself on what the gradients of all classes have in common; in one
mean gradient over all classes that cancels, and what tells the classes apart remains.
"""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from dcpi_core.compute import sent
from dcpi_core.context import Context
from dcpi_core.matching import labels_of, real_gradients
from dcpi_core.methods.matching.base.gradients import GradientMatching, GradientMatchingOptions
from dcpi_core.methods.matching.base.images import draw_for
from dcpi_core.networks import Network
from dcpi_core.ops.distances import gradient_distance
from dcpi_core.ops.siamese import Draw, seen_through
from dcpi_core.spec.catalog import Preset
from dcpi_core.spec.protocols import Augmentation
from dcpi_core.training import gradients


class ContrastiveOptions(GradientMatchingOptions):
    """Gradient matching with the published warm-up."""

    warmup_networks: int = Field(
        250, ge=0, le=100_000, description="networks that start with class-wise matching"
    )
    warmup_updates: int = Field(
        10, ge=0, le=1000, description="class-wise updates with each of those networks"
    )


ONE_PER_CLASS = Preset(
    max_images_per_class=4,
    options={"outer_loops": 10, "inner_epochs": 5},
    source="loops of the published implementation, which trains networks here unlike that of DC",
)


class ContrastiveMatching(GradientMatching):
    """Gradient matching that compares one mean gradient over all classes."""

    def __init__(self, options: ContrastiveOptions, augmentation: Augmentation = "none") -> None:
        super().__init__(options, augmentation)
        self.warmup = (options.warmup_networks, options.warmup_updates)

    def image_gradient(
        self, images: Tensor, network: Network, number: int, ctx: Context
    ) -> tuple[float, Tensor]:
        iteration, update = self.options.position(number)
        if iteration < self.warmup[0] and update < self.warmup[1]:
            return super().image_gradient(images, network, number, ctx)
        classes = range(ctx.facts.num_classes)
        own = sent(images, ctx.runtime.device).split(ctx.images_per_class)
        draws = [draw_for(self.augmentation, label, number, ctx) for label in classes]
        count = self.options.real_batch

        def real_of(label: int) -> list[Tensor]:
            return real_gradients(network, label, number, count, ctx, draws[label])

        def synthetic_of(label: int) -> list[Tensor]:
            seen = seen_through(own[label], draws[label])
            return gradients(network, seen, labels_of(label, seen), ctx.runtime)[0]

        real = _mean(ctx.runtime.map(real_of, classes))
        synthetic = _mean(ctx.runtime.map(synthetic_of, classes))
        distance, slope = distance_and_slope(synthetic, real)

        def carried_back(label: int) -> Tensor:
            # The chain rule class by class: the graph of one class exists at a time.
            return along(network, own[label], label, slope, draws[label]) / len(classes)

        return float(distance), torch.cat(ctx.runtime.map(carried_back, classes))


def distance_and_slope(synthetic: list[Tensor], real: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Distance of two gradients and its derivative by the first; zero where a part is ignored."""
    leaves = [g.detach().requires_grad_() for g in synthetic]
    distance = gradient_distance(leaves, real)
    slope = torch.autograd.grad(distance, leaves, materialize_grads=True)
    return distance.detach(), list(slope)


def along(
    network: Network, images: Tensor, label: int, slope: list[Tensor], draw: Draw | None
) -> Tensor:
    """Image gradient of the inner product of ``slope`` with the class's parameter gradient.

    Args:
        images: (n, C, H, W) of class ``label``, before the augmentation ``draw``.
        slope: in parameter order.

    Returns:
        (n, C, H, W).
    """
    images = images.detach().requires_grad_()
    seen = seen_through(images, draw)
    loss = F.cross_entropy(network(seen), labels_of(label, seen))
    found = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
    products = [(g * s).sum() for g, s in zip(found, slope, strict=True)]
    (gradient,) = torch.autograd.grad(torch.stack(products).sum(), images)
    return gradient


def _mean(by_class: list[list[Tensor]]) -> list[Tensor]:
    return [torch.stack(same).mean(0) for same in zip(*by_class, strict=True)]
