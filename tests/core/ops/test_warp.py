"""Warps: pixel by pixel from the definition, against torch's own sampler, and their gradients."""

import math

import pytest
import torch
from torch.nn import functional as F

from dcpi_core.ops.warp import rescale, rotate
from dcpi_core.rng import Streams

SHAPE = (3, 2, 6, 7)


def images(shape=SHAPE):
    draw = Streams(0).generator("images")
    return torch.randn(shape, generator=draw, dtype=torch.float64)


def pixel(image, y, x):
    """Bilinear value of one channel at a position in pixels; zero outside."""
    height, width = image.shape
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                weight = (1 - abs(y - row)) * (1 - abs(x - column))
                total += weight * float(image[row, column])
    return total


def warped(image, matrix):
    """One image (C, H, W) through a 2x2 matrix of (x, y) in [-1, 1], slowly."""
    channels, height, width = image.shape
    found = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            x, y = 2 * column / (width - 1) - 1, 2 * row / (height - 1) - 1
            at_x = matrix[0][0] * x + matrix[0][1] * y
            at_y = matrix[1][0] * x + matrix[1][1] * y
            place = ((at_y + 1) * (height - 1) / 2, (at_x + 1) * (width - 1) / 2)
            for channel in range(channels):
                found[channel, row, column] = pixel(image[channel], *place)
    return found


def scaling(down, across):
    return [[across, 0], [0, down]]


def turning(angle):
    return [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("pair", [(1.2, 0.85), (1 / 1.2, 1.1), (0.9, 0.9)])
def test_rescale_is_its_definition(pair):
    x = images()
    expected = torch.stack([warped(image, scaling(*pair)) for image in x])
    torch.testing.assert_close(rescale(x, vector(pair[0]), vector(pair[1])), expected)


@pytest.mark.parametrize("angle", [0.26, -0.1, 1.0])
def test_rotate_is_its_definition(angle):
    x = images()
    expected = torch.stack([warped(image, turning(angle)) for image in x])
    torch.testing.assert_close(rotate(x, vector(angle)), expected)


def test_each_image_by_its_own_amount():
    x = images()
    downs, acrosses = vector(1.2, 0.9, 1.0), vector(0.85, 1.0, 1.1)
    found = rescale(x, downs, acrosses)
    pairs = zip(downs.tolist(), acrosses.tolist(), strict=True)
    slowly = [warped(image, scaling(*pair)) for image, pair in zip(x, pairs, strict=True)]
    torch.testing.assert_close(found, torch.stack(slowly))
    angles = vector(0.2, -0.2, 0.05)
    slowly = [warped(image, turning(a)) for image, a in zip(x, angles.tolist(), strict=True)]
    torch.testing.assert_close(rotate(x, angles), torch.stack(slowly))


def test_the_published_sampler_gives_the_same():
    x, angle = images((2, 3, 8, 8)), 0.2
    theta = torch.tensor([[*row, 0.0] for row in turning(angle)], dtype=torch.float64)
    grid = F.affine_grid(theta.expand(2, 2, 3), list(x.shape), align_corners=True)
    expected = F.grid_sample(x, grid, align_corners=True)
    torch.testing.assert_close(rotate(x, vector(angle)), expected)


def test_a_quarter_turn_is_counterclockwise():
    x = images((1, 1, 5, 5))
    turned = rotate(x, vector(math.pi / 2))
    torch.testing.assert_close(turned, x.rot90(1, (2, 3)), atol=1e-12, rtol=0)


def test_nothing_asked_nothing_changed():
    x = images()
    torch.testing.assert_close(rescale(x, vector(1.0), vector(1.0)), x)
    torch.testing.assert_close(rotate(x, vector(0.0)), x)


@pytest.mark.parametrize("count", [1, 2])
def test_gradients(count):
    x = images((2, 1, 4, 5)).requires_grad_()
    amounts = vector(1.13, 0.9)[:count]
    assert torch.autograd.gradcheck(lambda x: rescale(x, amounts, amounts), x)
    assert torch.autograd.gradcheck(lambda x: rotate(x, 0.2 * amounts), x)
