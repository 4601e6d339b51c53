"""Siamese augmentation in the plain eager style it was published in, to be compared with ours.

Every operation has one parameter per image, all set to the same, and works on whole index grids.
It takes our draws, so both sides make the same images.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from dcpi_core.ops.siamese import CONTRAST, CROP, CUTOUT, ROTATE, SCALE, Draw


def plain_apply(draw: Draw, images: Tensor) -> Tensor:
    """What ``draw.apply(images)`` gives, step by step."""
    uniforms = draw.uniforms.expand(len(images), 3).to(images)
    change = {
        "colour": _colour,
        "crop": _crop,
        "cutout": _cutout,
        "flip": _flip,
        "scale": _scale,
        "rotate": _rotate,
    }
    return change[draw.operation](images, uniforms).contiguous()


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _colour(images: Tensor, u: Tensor) -> Tensor:
    images = images + (_column(u[:, 0]) - 0.5)
    gray = images.mean(dim=1, keepdim=True)
    images = (images - gray) * (_column(u[:, 1]) * 2) + gray
    mean = images.mean(dim=[1, 2, 3], keepdim=True)
    return (images - mean) * (_column(u[:, 2]) + CONTRAST) + mean


def _crop(images: Tensor, u: Tensor) -> Tensor:
    count, _, height, width = images.shape
    down, right = ((u[:, axis] * (2 * int(32 * CROP + 0.5) + 1)).long() - 4 for axis in (0, 1))
    batch, rows, columns = torch.meshgrid(
        torch.arange(count), torch.arange(height), torch.arange(width), indexing="ij"
    )
    rows = torch.clamp(rows + down.view(-1, 1, 1) + 1, 0, height + 1)
    columns = torch.clamp(columns + right.view(-1, 1, 1) + 1, 0, width + 1)
    padded = F.pad(images, [1, 1, 1, 1, 0, 0, 0, 0])
    return padded.permute(0, 2, 3, 1).contiguous()[batch, rows, columns].permute(0, 3, 1, 2)


def _cutout(images: Tensor, u: Tensor) -> Tensor:
    count, _, height, width = images.shape
    side = int(height * CUTOUT + 0.5)
    row, column = ((u[:, axis] * (height + 1 - side % 2)).long() for axis in (0, 1))
    batch, rows, columns = torch.meshgrid(
        torch.arange(count), torch.arange(side), torch.arange(side), indexing="ij"
    )
    rows = torch.clamp(rows + row.view(-1, 1, 1) - side // 2, min=0, max=height - 1)
    columns = torch.clamp(columns + column.view(-1, 1, 1) - side // 2, min=0, max=width - 1)
    mask = torch.ones(count, height, width, dtype=images.dtype)
    mask[batch, rows, columns] = 0
    return images * mask.unsqueeze(1)


def _flip(images: Tensor, u: Tensor) -> Tensor:
    return torch.where(_column(u[:, 0]) < 0.5, images.flip(3), images)


def _scale(images: Tensor, u: Tensor) -> Tensor:
    factors = u * (SCALE - 1 / SCALE) + 1 / SCALE
    zero = torch.zeros(len(images))
    rows = [
        torch.stack([factors[:, 1], zero, zero], 1),
        torch.stack([zero, factors[:, 0], zero], 1),
    ]
    return _sampled(images, torch.stack(rows, 1))


def _rotate(images: Tensor, u: Tensor) -> Tensor:
    angle = (u[:, 0] * 2 - 1) * ROTATE
    zero = torch.zeros(len(images))
    rows = [
        torch.stack([angle.cos(), (-angle).sin(), zero], 1),
        torch.stack([angle.sin(), angle.cos(), zero], 1),
    ]
    return _sampled(images, torch.stack(rows, 1))


def _sampled(images: Tensor, theta: Tensor) -> Tensor:
    grid = F.affine_grid(theta, list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, align_corners=True)
