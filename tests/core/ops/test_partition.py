import pytest
import torch
from torch.nn import functional as F

from dcpi_core.ops.partition import from_tiles, labels_of_tiles, tiles_of


def images(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_tiles_in_the_published_order():
    """Top left, bottom left, top right, bottom right; each enlarged to full size."""
    x = images(3, 2, 8, 6)
    found = tiles_of(x, 2)
    corners = [(slice(0, 4), slice(0, 3)), (slice(4, 8), slice(0, 3))]
    corners += [(slice(0, 4), slice(3, 6)), (slice(4, 8), slice(3, 6))]
    for number, (rows, columns) in enumerate(corners):
        large = F.interpolate(x[:, :, rows, columns], (8, 6), mode="bilinear")
        torch.testing.assert_close(found[number::4], large)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_what_is_put_together_comes_apart_in_the_same_order(factor):
    flat = torch.arange(2.0 * factor**2).view(-1, 1, 1, 1).expand(-1, 3, 7, 9)
    found = tiles_of(from_tiles(flat, factor), factor)
    torch.testing.assert_close(found, flat)
    assert from_tiles(flat, factor).shape == (2, 3, 7, 9)


def test_shrinking_to_the_nearest_takes_every_other_pixel():
    x = images(4, 2, 8, 6)
    found = from_tiles(x, 2, "nearest")
    assert torch.equal(found[0, :, :4, :3], x[0, :, ::2, ::2])
    assert torch.equal(found[0, :, 4:, 3:], x[3, :, ::2, ::2])


def test_labels_follow_their_tiles():
    labels = torch.tensor([5, 7])
    assert labels_of_tiles(labels, 2).tolist() == [5] * 4 + [7] * 4
    assert labels_of_tiles(labels, 1).tolist() == [5, 7]


def test_gradients():
    assert torch.autograd.gradcheck(lambda x: tiles_of(x, 2), images(1, 1, 4, 5).requires_grad_())
