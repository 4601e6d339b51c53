"""Features of the literature's ConvNet, with a hand-written first-order backward pass for CPUs.

The body is ``depth`` blocks of [3x3 convolution, instance norm, ReLU, 2x2 average pooling]. Three
things make this several times faster than layer-by-layer autograd:

- the convolutions after the first run in the Winograd domain (``ops.winograd``);
- the first convolution sees only 9 or 27 inputs per pixel, so the statistics of its instance norm
  and its whole backward pass follow from the covariance of the image's patches, and the wide
  128 x 32 x 32 map is touched a few times instead of dozens;
- callers pass a few dozen images at a time, so that activations stay in the cache.

Instance norm subtracts each channel's mean, so convolution biases have no effect and a gradient of
exactly zero. There is no second-order gradient: autograd raises if it is asked for one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from dcpi_core.ops import winograd

EPS = 1e-5
PARAMETERS_PER_BLOCK = 4  # convolution weight and bias, norm weight and bias


def supports(image_size: tuple[int, int], padding: int, depth: int) -> bool:
    """Whether every block's map has a size this code can handle."""
    height, width = (side + 2 * padding - 2 for side in image_size)
    if height % 2 or width % 2:
        return False
    for _ in range(1, depth):
        height, width = height // 2, width // 2
        if not winograd.fits(height, width):
            return False
    return True


def convnet_features(images: Tensor, parameters: Sequence[Tensor], padding: int = 1) -> Tensor:
    """Features (n, O, h', w') after the last pooling; see ``convnet_maps``."""
    (features,) = convnet_maps(images, parameters, padding, (len(parameters) // 4,))
    return features


def convnet_maps(
    images: Tensor, parameters: Sequence[Tensor], padding: int, layers: Sequence[int]
) -> tuple[Tensor, ...]:
    """Features of a batch, differentiable once with respect to the parameters.

    Args:
        images: (n, C, h, w); receives no gradient.
        parameters: per block: convolution weight (O, C, 3, 3) and bias (O,), norm weight (O,) and
            bias (O,).
        padding: of the first convolution; the others use 1.
        layers: which blocks' maps are wanted, counted from 1; the last block's must be among them.

    Returns:
        For each of ``layers`` the map (n, O, h', w') after that block's pooling.
    """
    maps: tuple[Tensor, ...] = _Features.apply(images, padding, tuple(layers), *parameters)  # type: ignore[no-untyped-call]
    return maps


class _FirstBlock(NamedTuple):
    patches: Tensor  # (n, k + 1, 4 * q): centred patches and a row of ones
    covariance: Tensor  # (n, k, k)
    inverse_std: Tensor  # (n, O)
    activations: Tensor  # (n, 4, q, O), after ReLU


class _LaterBlock(NamedTuple):
    saved: winograd.Saved
    size: tuple[int, int]
    output: Tensor  # (16, n, t, O), before the norm
    mean: Tensor  # (n, 1, O)
    inverse_std: Tensor  # (n, 1, O)
    activations: Tensor  # (16, n, t, O), after ReLU


class _Features(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, padding: int, layers: tuple[int, ...], *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        size = tuple(side + 2 * padding - 2 for side in images.shape[2:])
        maps, first = _first_forward(images, padding, parameters[:4])
        blocks: list[_LaterBlock] = []
        found = {1: maps}
        for start in range(4, len(parameters), 4):
            maps, block = _later_forward(maps, parameters[start : start + 4])
            blocks.append(block)
            found[len(found) + 1] = maps
        ctx.first, ctx.blocks, ctx.parameters, ctx.layers = first, blocks, parameters, layers
        ctx.first_size = (size[0] // 2, size[1] // 2)
        return tuple(found[layer].permute(0, 3, 1, 2).contiguous() for layer in layers)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *incoming: Tensor) -> tuple[Tensor | None, ...]:
        by_layer = {
            layer: gradient.permute(0, 2, 3, 1)
            for layer, gradient in zip(ctx.layers, incoming, strict=True)
        }
        gradient = by_layer[len(ctx.blocks) + 1]
        gradients: list[Tensor] = []
        for number, block in reversed(list(enumerate(ctx.blocks, start=1))):
            own = ctx.parameters[4 * number : 4 * number + 4]
            gradient, found = _later_backward(gradient, block, own)
            if number in by_layer:  # the map before this block is wanted, too
                gradient = gradient + by_layer[number]
            gradients = [*found, *gradients]
        found = _first_backward(gradient, ctx.first, ctx.parameters[:4])
        return None, None, None, *found, *gradients


def _first_forward(
    images: Tensor, padding: int, parameters: Sequence[Tensor]
) -> tuple[Tensor, _FirstBlock]:
    weight, _, scale, shift = parameters
    patches, covariance, (down, across) = _patches_by_pooling_position(images, padding)
    rows = weight.flatten(1)  # (O, k)
    # Products of matrices and sums written out: einsum would make a product per filter of these.
    variance = ((rows @ covariance) * rows).sum(2)
    inverse_std = torch.rsqrt(variance + EPS)
    # Norm and convolution are one matrix per image: scale * inverse_std * weight, shift last.
    folded = torch.empty(len(images), rows.shape[1] + 1, len(rows), dtype=rows.dtype)
    torch.mul((scale * inverse_std).unsqueeze(1), rows.t(), out=folded[:, :-1])
    folded[:, -1] = shift
    activations = torch.bmm(patches.transpose(1, 2), folded).relu_()
    activations = activations.view(len(images), 4, down * across, len(rows))
    pooled = activations.sum(1).mul_(0.25).view(len(images), down, across, len(rows))
    return pooled, _FirstBlock(patches, covariance, inverse_std, activations)


def _first_backward(
    gradient: Tensor, block: _FirstBlock, parameters: Sequence[Tensor]
) -> list[Tensor]:
    weight, bias, scale, _ = parameters
    count, _, _, outputs = block.activations.shape
    spread = (gradient.reshape(count, 1, -1, outputs) * 0.25).expand_as(block.activations)
    inner = torch.ops.aten.threshold_backward(spread, block.activations, 0)
    moments = torch.bmm(block.patches, inner.view(count, -1, outputs))
    by_patch, total = moments[:, :-1], moments[:, -1]
    rows = weight.flatten(1)
    along = (rows.t() * by_patch).sum(1) * block.inverse_std  # sum of gradient * z_hat
    per_image = by_patch - (along * block.inverse_std).unsqueeze(1) * (block.covariance @ rows.t())
    factor = (scale * block.inverse_std).unsqueeze(1)
    for_weight = (factor * per_image).sum(0).t().reshape(weight.shape)
    return [for_weight, torch.zeros_like(bias), along.sum(0), total.sum(0)]


def _later_forward(maps: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, _LaterBlock]:
    weight, _, scale, shift = parameters
    count, height, width, _ = maps.shape
    output, saved = winograd.forward(maps, weight)
    pixels = height * width
    mean = _sum_pixels(output) / pixels
    variance = _sum_pixels(output.square()) / pixels - mean.square()
    inverse_std = torch.rsqrt(variance.clamp_min_(0) + EPS)
    factor = scale * inverse_std
    offset = shift - mean * factor
    activations = torch.addcmul(offset.unsqueeze(1), output, factor.unsqueeze(1)).relu_()
    down, across, channels = height // 4, width // 4, len(weight)
    pairs = activations.view(2, 2, 2, 2, count, down, across, channels)
    # Additions of whole slices: a reduction over these short inner axes is twenty times slower.
    by_row = pairs[:, 0] + pairs[:, 1]
    pooled = (by_row[:, :, 0] + by_row[:, :, 1]).mul_(0.25).permute(2, 3, 0, 4, 1, 5)
    block = _LaterBlock(
        saved, (height, width), output, mean.unsqueeze(1), inverse_std.unsqueeze(1), activations
    )
    return pooled.reshape(count, height // 2, width // 2, channels), block


def _later_backward(
    gradient: Tensor, block: _LaterBlock, parameters: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    _, bias, scale, _ = parameters
    height, width = block.size
    count, channels = gradient.shape[0], gradient.shape[3]
    down, across = height // 4, width // 4
    blocks = gradient.reshape(count, down, 2, across, 2, channels).permute(2, 4, 0, 1, 3, 5)
    spread = (blocks * 0.25)[:, None, :, None].expand(2, 2, 2, 2, -1, -1, -1, -1)
    shape = block.activations.shape
    inner = torch.ops.aten.threshold_backward(spread, block.activations.view(spread.shape), 0).view(
        shape
    )
    total = _sum_pixels(inner).unsqueeze(1)
    along = _sum_pixels(inner * block.output).unsqueeze(1)
    along = (along - block.mean * total) * block.inverse_std  # sum of gradient * z_hat
    factor = scale * block.inverse_std
    pixels = height * width
    slope = -factor * block.inverse_std * along / pixels
    offset = -factor * total / pixels - block.mean * slope
    before_norm = torch.addcmul(offset, inner, factor).addcmul_(block.output, slope)
    for_weight, for_maps = winograd.backward(before_norm, block.saved, block.size)
    return for_maps, [
        for_weight,
        torch.zeros_like(bias),
        along.sum((0, 1)),
        total.sum((0, 1)),
    ]


def _sum_pixels(tiles: Tensor) -> Tensor:
    """Sum a tile-major map (16, n, t, O) over its pixels; (n, O)."""
    return tiles.sum(0).sum(1)


def _patches_by_pooling_position(
    images: Tensor, padding: int
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Centred 3x3 patches, the four pixels of each pooling window in four separate runs.

    Returns:
        (n, k + 1, 4 * q) with k = 9 C patch elements and a last row of ones; the covariance of the
        patches, (n, k, k); the size of the pooled map.
    """
    count, channels = images.shape[:2]
    padded = F.pad(images, (padding,) * 4).contiguous()
    down, across = (padded.shape[2] - 2) // 2, (padded.shape[3] - 2) // 2
    plane, row = padded.stride(1), padded.stride(2)
    windows = padded.as_strided(
        (count, channels, 3, 3, 2, 2, down, across),
        (padded.stride(0), plane, row, 1, row, 1, 2 * row, 2),
    )
    patches = images.new_empty(count, 9 * channels + 1, 4 * down * across)
    patches[:, -1] = 1
    centred = patches[:, :-1]
    # Gathered by rows of pixels, and left so: the products below read either order equally fast.
    centred.view(windows.shape).copy_(windows)
    centred -= centred.mean(2, keepdim=True)
    covariance = torch.bmm(centred, centred.transpose(1, 2)) / centred.shape[2]
    return patches, covariance, (down, across)
