"""Images that are learned: what they start from, how they are seen and how they move."""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from dcpi_core.context import Context
from dcpi_core.ops.augment import DSA_OPERATIONS
from dcpi_core.ops.partition import from_tiles
from dcpi_core.ops.siamese import Draw, siamese_draw
from dcpi_core.spec.base import Options
from dcpi_core.spec.catalog import Preset
from dcpi_core.spec.protocols import NEVER_MIRRORED, Augmentation


class ImageOptions(Options):
    """Plain gradient descent with momentum on the images."""

    image_learning_rate: float = Field(0.1, gt=0, le=100)
    image_momentum: float = Field(0.5, ge=0, lt=1)
    init: Literal["noise", "real"] = Field("noise", description="what the images start from")


class AugmentedOptions(Options):
    """Differentiable siamese augmentation of real and synthetic images alike."""

    augmentation: Literal["none", "dsa", "dsa_no_flip"] = Field(
        "dsa", description="one change for the real and the synthetic images of a class"
    )


NO_FLIP_FOR_DIGITS = tuple(
    Preset(
        dataset=name,
        options={"augmentation": "dsa_no_flip"},
        source="strategy of the published implementation for digits",
    )
    for name in sorted(NEVER_MIRRORED)
)


@dataclass
class ImageState:
    """The images and their momentum, (n, C, H, W) each, on the CPU."""

    images: Tensor
    velocity: Tensor


def initial_images(init: Literal["noise", "real"], ctx: Context) -> Tensor:
    """Standard normal noise, or different real images of each class; (n, C, H, W) on the CPU."""
    labels, facts = ctx.hard_labels(), ctx.facts
    if init == "real":
        classes = range(facts.num_classes)
        parts = [ctx.real_batch(label, ctx.images_per_class, -1) for label in classes]
        return torch.cat(parts).cpu()
    shape = (len(labels), facts.channels, facts.height, facts.width)
    return torch.randn(shape, generator=ctx.streams.generator("noise_images"))


def initial_tiles(
    factor: int, ctx: Context, mode: Literal["bilinear", "nearest"] = "bilinear"
) -> Tensor:
    """Real images shrunk to the tiles of each stored one, another for each tile while they last.

    Returns:
        (n, C, H, W), normalised, on the CPU.
    """
    wanted = ctx.images_per_class * factor**2
    parts = []
    for label in range(ctx.facts.num_classes):
        real = ctx.real_batch(label, wanted, -1)
        parts.append(real[torch.arange(wanted, device=real.device) % len(real)])
    return from_tiles(torch.cat(parts), factor, mode).cpu()


def descend(state: ImageState, gradient: Tensor, options: ImageOptions) -> None:
    """One step of SGD with momentum on all images; changes ``state``."""
    state.velocity = options.image_momentum * state.velocity + gradient.cpu()
    state.images = state.images - options.image_learning_rate * state.velocity


def draw_for(augmentation: Augmentation, label: int, number: int, ctx: Context) -> Draw | None:
    """One change for the real and the synthetic images of a class in one step, if any."""
    operations = DSA_OPERATIONS.get(augmentation)
    if operations is None:
        return None
    return siamese_draw(operations, ctx.streams.generator("siamese", label, number))
