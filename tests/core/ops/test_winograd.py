import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from dcpi_core.ops import winograd
from dcpi_core.rng import Streams


def to_nhwc(tiles: torch.Tensor, height: int, width: int) -> torch.Tensor:
    _, count, _, channels = tiles.shape
    blocks = tiles.view(4, 4, count, height // 4, width // 4, channels)
    return blocks.permute(2, 3, 0, 4, 1, 5).reshape(count, height, width, channels)


def to_tiles(maps: torch.Tensor) -> torch.Tensor:
    count, height, width, channels = maps.shape
    blocks = maps.view(count, height // 4, 4, width // 4, 4, channels)
    return blocks.permute(2, 4, 0, 1, 3, 5).reshape(16, count, -1, channels)


@settings(max_examples=20, deadline=None)
@given(
    count=st.integers(1, 3),
    down=st.integers(1, 3),
    across=st.integers(1, 3),
    channels=st.integers(1, 5),
    outputs=st.integers(1, 5),
    seed=st.integers(0, 100),
)
def test_equals_the_direct_convolution(count, down, across, channels, outputs, seed):
    height, width = 4 * down, 4 * across
    draw = Streams(seed).generator("winograd")
    images = torch.randn(count, height, width, channels, generator=draw, dtype=torch.float64)
    weight = torch.randn(outputs, channels, 3, 3, generator=draw, dtype=torch.float64)
    wanted = torch.randn(count, height, width, outputs, generator=draw, dtype=torch.float64)

    output, saved = winograd.forward(images, weight)
    for_weight, for_images = winograd.backward(to_tiles(wanted), saved, (height, width))

    nchw, direct_weight = images.permute(0, 3, 1, 2).requires_grad_(), weight.requires_grad_()
    direct = F.conv2d(nchw, direct_weight, padding=1)
    expected = torch.autograd.grad(direct, [direct_weight, nchw], wanted.permute(0, 3, 1, 2))
    torch.testing.assert_close(to_nhwc(output, height, width), direct.permute(0, 2, 3, 1))
    torch.testing.assert_close(for_weight, expected[0])
    torch.testing.assert_close(for_images, expected[1].permute(0, 2, 3, 1))


def test_float32_error_is_small():
    draw = Streams(0).generator("winograd")
    images = torch.randn(2, 16, 16, 128, generator=draw)
    weight = torch.randn(128, 128, 3, 3, generator=draw)
    output, _ = winograd.forward(images, weight)
    exact = F.conv2d(images.double().permute(0, 3, 1, 2), weight.double(), padding=1)
    error = (to_nhwc(output, 16, 16).permute(0, 3, 1, 2) - exact).abs().max() / exact.abs().max()
    assert error < 5e-5


@pytest.mark.parametrize(("size", "expected"), [((8, 16), True), ((6, 8), False), ((4, 2), False)])
def test_fits_only_whole_tiles(size, expected):
    assert winograd.fits(*size) is expected
