"""Several small images in one: partition-and-expand (Zhao et al., CVPR 2023; arXiv 2307.09742).

A stored image is a ``factor`` x ``factor`` grid of tiles; students see every tile enlarged to full
size. The same bytes then hold factor squared as many, less detailed, images.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def tiles_of(images: Tensor, factor: int) -> Tensor:
    """Cut every image into its tiles and enlarge them, bilinearly; differentiable.

    Args:
        images: (n, C, H, W); rows and columns that fill no tile are ignored.
        factor: tiles per side; 1 changes nothing.

    Returns:
        (n * factor ** 2, C, H, W), the tiles of an image one after the other, column by column.
    """
    if factor == 1:
        return images
    count, channels, height, width = images.shape
    down, across = height // factor, width // factor
    cut = images[:, :, : down * factor, : across * factor]
    grid = cut.reshape(count, channels, factor, down, factor, across)
    tiles = grid.permute(0, 4, 2, 1, 3, 5).reshape(-1, channels, down, across)
    return F.interpolate(tiles, (height, width), mode="bilinear", align_corners=False)


def from_tiles(
    images: Tensor, factor: int, mode: Literal["bilinear", "nearest"] = "bilinear"
) -> Tensor:
    """Shrink every ``factor ** 2`` images in a row to the tiles of one.

    Args:
        images: (n * factor ** 2, C, H, W).
        factor: tiles per side; 1 changes nothing.
        mode: how pixels of the small image come from the large one.

    Returns:
        (n, C, H, W); rows and columns that fill no tile are zero.
    """
    if factor == 1:
        return images
    channels, height, width = images.shape[1:]
    down, across = height // factor, width // factor
    corners = {"align_corners": False} if mode == "bilinear" else {}
    tiles = F.interpolate(images, (down, across), mode=mode, **corners)
    grid = tiles.reshape(-1, factor, factor, channels, down, across).permute(0, 3, 2, 4, 1, 5)
    whole = grid.reshape(-1, channels, down * factor, across * factor)
    return F.pad(whole, (0, width - across * factor, 0, height - down * factor))


def labels_of_tiles(labels: Tensor, factor: int) -> Tensor:
    """Labels (n * factor ** 2,) of the tiles from those (n,) of the images."""
    return labels.repeat_interleave(factor**2) if factor > 1 else torch.as_tensor(labels)
