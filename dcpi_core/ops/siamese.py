"""Differentiable siamese augmentation, DSA (Zhao and Bilen, ICML 2021; arXiv 2102.08259).

One operation is drawn for a whole batch. In matching, real and synthetic images see the very same
change (``siamese_draw``); in training, each image has its own strength (``individual_draw``). All
operations are affine in the pixels, so gradients flow through them to the images.

A draw is a name and uniform numbers; the published ranges turn them into strengths when it is
applied, so one draw suits batches of any number and size of images. The published code seeds the
global generator from the clock instead and repeats the seed for the second batch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dcpi_core.compute import sent
from dcpi_core.ops.warp import rescale, rotate

BRIGHTNESS = 0.5  # added, at most, in units of normalised pixels
SATURATION = 2.0  # largest factor of the distance to a pixel's gray
CONTRAST = 0.5  # largest change of the factor of the distance to the image's mean
CROP = 0.125  # largest shift, as a share of the side
CUTOUT = 0.5  # side of the square, as a share of the side
SCALE = 1.2  # largest factor; its inverse is the smallest
ROTATE = math.pi / 12  # largest angle, 15 degrees


@dataclass(frozen=True)
class Draw:
    """One augmentation: an operation and uniform numbers in [0, 1), which set its strength.

    Attributes:
        operation: a name from ``OPERATIONS``.
        uniforms: (m, 3) on the CPU; m = 1 if all images of a batch are changed alike, or one row
            per image.
    """

    operation: str
    uniforms: Tensor

    def apply(self, images: Tensor) -> Tensor:
        """Change a batch (n, C, H, W) of normalised images; differentiable in them."""
        return _APPLY[self.operation](images, self.uniforms)


def seen_through(images: Tensor, draw: Draw | None) -> Tensor:
    """Images (n, C, H, W) after this change, if there is one."""
    return images if draw is None else draw.apply(images)


def siamese_draw(operations: tuple[str, ...], generator: torch.Generator) -> Draw:
    """One operation of ``operations`` with one strength for all images it is applied to."""
    return individual_draw(operations, generator, 1)


def individual_draw(operations: tuple[str, ...], generator: torch.Generator, count: int) -> Draw:
    """One operation of ``operations``, with a strength of its own for each of ``count`` images."""
    which = int(torch.randint(len(operations), (), generator=generator))
    return Draw(operations[which], torch.rand(count, 3, generator=generator))


def adjust_colour(
    images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor
) -> Tensor:
    """Brightness, then saturation, then contrast.

    Adds ``brightness``; scales the distance to each pixel's mean over the channels by
    ``saturation``; scales the distance to the image's mean by ``contrast``. Values are not clamped:
    normalised images have no bounds.

    Args:
        images: (n, C, H, W).
        brightness: (m,), m = n or 1 for all images; likewise the factors.
    """
    count, channels = images.shape[:2]
    b, s, c = (value.view(-1, 1, 1) for value in (brightness, saturation, contrast))
    # Linear in a pixel's channels, but for the image's mean: one small product does all three.
    keep = torch.eye(channels, dtype=images.dtype, device=images.device) * s
    mix = c * (keep + (1 - s) / channels)
    offset = (1 - c) * images.mean((1, 2, 3)).view(-1, 1, 1) + b
    pixels = images.reshape(count, channels, -1)
    return torch.baddbmm(offset, mix.expand(count, -1, -1), pixels).view_as(images)


def shift(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Move the window: output pixel (y, x) is input pixel (y + down, x + right), or zero outside.

    Args:
        images: (n, C, H, W).
        down: (m,) whole numbers no larger than the height, m = n or 1 for all images.
        right: likewise.
    """
    height, width = images.shape[2:]
    if len(down) == 1:
        top, left = int(down), int(right)
        return F.pad(images, (-left, left, -top, top))
    reach = [int(offset.abs().max()) for offset in (down, right)]
    padded = F.pad(images, (reach[1], reach[1], reach[0], reach[0]))
    device = images.device
    rows = (
        sent(down + reach[0], device).view(-1, 1, 1) + torch.arange(height, device=device)[:, None]
    )
    columns = sent(right + reach[1], device).view(-1, 1, 1) + torch.arange(width, device=device)
    which = torch.arange(len(images), device=device).view(-1, 1, 1)
    return padded[which, :, rows, columns].permute(0, 3, 1, 2)


def cut_out(images: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Set a square of half the side to zero, the mean colour; the border cuts it off.

    Args:
        images: (n, C, H, W).
        row: (m,) whole numbers: the square covers ``row - side // 2`` and the ``side - 1`` rows
            after it; m = n or 1 for all images.
        column: likewise.
    """
    inside = [
        _within(sent(centre, images.device), size)
        for centre, size in zip((row, column), images.shape[2:], strict=True)
    ]
    hole = inside[0].unsqueeze(2) & inside[1].unsqueeze(1)
    return images * (~hole).unsqueeze(1).to(images.dtype)


def mirror(images: Tensor, flipped: Tensor) -> Tensor:
    """Left to right, the images where ``flipped``, (m,) bool, says so; m = n or 1 for all."""
    if len(flipped) == 1:
        return images.flip(3) if bool(flipped) else images
    return torch.where(sent(flipped, images.device).view(-1, 1, 1, 1), images.flip(3), images)


def _beside(uniforms: Tensor, images: Tensor) -> Tensor:
    return sent(uniforms.to(images.dtype), images.device)


def _within(centre: Tensor, size: int) -> Tensor:
    side = _side_of_cutout(size)
    offset = torch.arange(size, device=centre.device) - (centre - side // 2).unsqueeze(1)
    return (offset >= 0) & (offset < side)


def _side_of_cutout(size: int) -> int:
    return int(size * CUTOUT + 0.5)


def _colour(images: Tensor, uniforms: Tensor) -> Tensor:
    u = _beside(uniforms, images)
    return adjust_colour(
        images,
        (2 * u[:, 0] - 1) * BRIGHTNESS,
        u[:, 1] * SATURATION,
        1 + (2 * u[:, 2] - 1) * CONTRAST,
    )


def _crop(images: Tensor, uniforms: Tensor) -> Tensor:
    reach = [int(size * CROP + 0.5) for size in images.shape[2:]]
    down, right = (
        (uniforms[:, axis] * (2 * most + 1)).long() - most for axis, most in enumerate(reach)
    )
    return shift(images, down, right)


def _cutout(images: Tensor, uniforms: Tensor) -> Tensor:
    # Centres run from 0 to the side inclusive where the square's side is even.
    places = [size + 1 - _side_of_cutout(size) % 2 for size in images.shape[2:]]
    row, column = ((uniforms[:, axis] * count).long() for axis, count in enumerate(places))
    return cut_out(images, row, column)


def _flip(images: Tensor, uniforms: Tensor) -> Tensor:
    return mirror(images, uniforms[:, 0] < 0.5)


def _scale(images: Tensor, uniforms: Tensor) -> Tensor:
    factors = _beside(uniforms, images) * (SCALE - 1 / SCALE) + 1 / SCALE
    return rescale(images, factors[:, 0], factors[:, 1])


def _rotate(images: Tensor, uniforms: Tensor) -> Tensor:
    return rotate(images, (2 * _beside(uniforms, images)[:, 0] - 1) * ROTATE)


_APPLY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "colour": _colour,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}

OPERATIONS = tuple(_APPLY)
"""The published six."""

WITHOUT_FLIP = tuple(name for name in OPERATIONS if name != "flip")
"""The published five for digits, whose mirror images mean something else or nothing."""
