"""Augmentations of training batches by name: pure functions; labels stay as they are."""

import torch
from torch import Tensor

from dcpi_core.compute import sent
from dcpi_core.ops.siamese import OPERATIONS, WITHOUT_FLIP, individual_draw, shift

DSA_OPERATIONS = {"dsa": OPERATIONS, "dsa_no_flip": WITHOUT_FLIP}
"""Operations of the augmentations that draw one operation per batch, by name."""


def augment(images: Tensor, name: str, generator: torch.Generator) -> Tensor:
    """A batch as students see it in training.

    Args:
        images: (n, C, H, W), normalised.
        name: ``none``, ``flip_shift``, ``colour_crop`` (both operations of DSA, one after the
            other), or a key of ``DSA_OPERATIONS``.
        generator: on the CPU.

    Returns:
        (n, C, H, W).

    Raises:
        KeyError: no augmentation has this name.
    """
    if name == "none":
        return images
    if name == "flip_shift":
        return flip_and_shift(images, generator)
    if name == "colour_crop":
        for operation in ("colour", "crop"):
            images = individual_draw((operation,), generator, len(images)).apply(images)
        return images
    return individual_draw(DSA_OPERATIONS[name], generator, len(images)).apply(images)


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
    flip = sent(torch.rand(count, generator=generator) < 0.5, images.device).view(-1, 1, 1, 1)
    images = torch.where(flip, images.flip(3), images)
    down, right = (
        torch.randint(-most, most + 1, (count,), generator=generator)
        for most in (max(height // 8, 1), max(width // 8, 1))
    )
    return shift(images, down, right)
