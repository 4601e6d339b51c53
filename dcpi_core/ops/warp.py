"""Scaling and rotation about the centre: bilinear, zeros outside, differentiable in the images.

Positions are counted with the centres of the corner pixels at -1 and 1 (``align_corners=True``),
as they were when the published numbers were made; later versions of torch sample elsewhere unless
told so.

Positions are laid out directly: ``affine_grid`` takes longer to make them than the sampler to use
them. A scaling that all images share is two small matrix products.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def rescale(images: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Sample each image at its positions times these factors: above 1 the content shrinks.

    Args:
        images: (n, C, H, W).
        down: (m,) factors of the vertical positions, m = n or 1 for all images.
        across: (m,) factors of the horizontal positions.

    Returns:
        (n, C, H, W).
    """
    height, width = images.shape[2:]
    rows, columns = _axis(height, images), _axis(width, images)
    if len(down) == 1:
        vertical = _tent(_pixels(down * rows, height), height)
        horizontal = _tent(_pixels(across * columns, width), width)
        return vertical @ (images @ horizontal.t())
    y = (down.view(-1, 1, 1) * rows.view(1, -1, 1)).expand(-1, height, width)
    x = (across.view(-1, 1, 1) * columns.view(1, 1, -1)).expand(-1, height, width)
    return _sample(images, x, y)


def rotate(images: Tensor, angle: Tensor) -> Tensor:
    """Turn each image about its centre; where height and width differ, it is also sheared.

    Args:
        images: (n, C, H, W).
        angle: (m,) in radians, m = n or 1 for all images; positive turns the content
            counterclockwise as displayed.

    Returns:
        (n, C, H, W).
    """
    height, width = images.shape[2:]
    rows, columns = _axis(height, images).view(-1, 1), _axis(width, images).view(1, -1)
    cosine, sine = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    x, y = cosine * columns - sine * rows, sine * columns + cosine * rows
    return _sample(images, x, y)


def _axis(size: int, like: Tensor) -> Tensor:
    return torch.linspace(-1, 1, size, dtype=like.dtype, device=like.device)


def _pixels(position: Tensor, size: int) -> Tensor:
    """Pixel number of a position in [-1, 1]."""
    return (position + 1) * ((size - 1) / 2)


def _tent(pixels: Tensor, size: int) -> Tensor:
    """Weights of bilinear interpolation along one axis, (outputs, inputs)."""
    inputs = torch.arange(size, dtype=pixels.dtype, device=pixels.device)
    return (1 - (pixels.unsqueeze(1) - inputs).abs()).clamp_min(0)


def _sample(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    grid = torch.stack([x, y], dim=-1).expand(len(images), -1, -1, -1)
    return F.grid_sample(images, grid, align_corners=True)
