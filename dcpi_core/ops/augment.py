"""Augmentations: pure functions of images and a generator; labels stay as they are."""

import torch
from torch import Tensor
from torch.nn import functional as F


def flip_and_shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip each image with probability one half and shift it by up to an eighth of its side.

    Pixels that come in from outside are zero, the mean colour of normalised images.

    Args:
        images: (n, C, H, W), normalised.
        generator: on the CPU; n draws for the flips, then n for each direction of the shift.

    Returns:
        (n, C, H, W), each image changed on its own.
    """
    count, _, height, width = images.shape
    flip = (torch.rand(count, generator=generator) < 0.5).view(-1, 1, 1, 1).to(images.device)
    images = torch.where(flip, images.flip(3), images)
    reach = (max(height // 8, 1), max(width // 8, 1))
    down, right = (
        torch.randint(0, 2 * most + 1, (count,), generator=generator).to(images.device)
        for most in reach
    )
    padded = F.pad(images, (reach[1], reach[1], reach[0], reach[0]))
    rows = down.view(-1, 1, 1) + torch.arange(height, device=images.device).view(1, -1, 1)
    columns = right.view(-1, 1, 1) + torch.arange(width, device=images.device).view(1, 1, -1)
    which = torch.arange(count, device=images.device).view(-1, 1, 1)
    return padded[which, :, rows, columns].permute(0, 3, 1, 2)
