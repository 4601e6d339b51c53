"""Each operation against a slow reading of its definition; sharing, ranges and gradients."""

import math

import pytest
import torch
from torch.nn import functional as F

from dcpi_core.networks import build
from dcpi_core.ops.siamese import (
    OPERATIONS,
    WITHOUT_FLIP,
    Draw,
    adjust_colour,
    cut_out,
    individual_draw,
    mirror,
    shift,
    siamese_draw,
)
from dcpi_core.rng import Streams

every_operation = pytest.mark.parametrize("name", OPERATIONS)


def images(shape=(4, 3, 8, 8), purpose="images"):
    draw = Streams(0).generator(purpose)
    return torch.randn(shape, generator=draw, dtype=torch.float64)


def uniforms(count, seed=0):
    return torch.rand(count, 3, generator=Streams(seed).generator("uniforms"))


class TestColour:
    def test_three_steps_one_after_the_other(self):
        x = images()
        amounts = torch.rand(3, 4, generator=Streams(1).generator("amounts"), dtype=torch.float64)
        found = adjust_colour(x, *amounts)
        for image, after, b, s, c in zip(x, found, *amounts, strict=True):
            step = image + b
            gray = (step[0] + step[1] + step[2]) / 3
            step = torch.stack([(channel - gray) * s + gray for channel in step])
            step = (step - step.mean()) * c + step.mean()
            torch.testing.assert_close(after, step)

    def test_published_ranges(self):
        x = images((1, 3, 8, 8))
        for corner in (torch.zeros(1, 3), torch.ones(1, 3)):
            strongest = bool(corner[0, 0])
            expected = adjust_colour(
                x,
                torch.tensor([0.5 if strongest else -0.5]),
                torch.tensor([2.0 if strongest else 0.0]),
                torch.tensor([1.5 if strongest else 0.5]),
            )
            torch.testing.assert_close(Draw("colour", corner).apply(x), expected)


class TestCrop:
    @pytest.mark.parametrize("offsets", [[(2, -1)], [(0, 0), (-2, 1), (1, 2), (2, -2)]])
    def test_every_pixel_looked_up_where_it_came_from(self, offsets):
        x = images()
        found = shift(x, *torch.tensor(offsets).unbind(1))
        for number, image in enumerate(x):
            down, right = offsets[number % len(offsets)]
            for row in range(8):
                for column in range(8):
                    y, z = row + down, column + right
                    inside = 0 <= y < 8 and 0 <= z < 8
                    expected = image[:, y, z] if inside else torch.zeros(3, dtype=x.dtype)
                    assert torch.equal(found[number, :, row, column], expected)

    def test_every_shift_of_the_published_range(self):
        x = images((1, 1, 32, 32))
        seen = set()
        for value in torch.linspace(0, 0.9999, 200):
            found = Draw("crop", value.expand(1, 3)).apply(x)
            seen |= {d for d in range(-6, 7) if torch.equal(found, shift(x, *offset(d, d)))}
        assert seen == set(range(-4, 5))


class TestCutout:
    @pytest.mark.parametrize("size", [8, 6, 7])
    def test_published_indices(self, size):
        """A square of indices around every centre, clamped to the border."""
        x = torch.ones(1, 2, size, size, dtype=torch.float64)
        side = int(size * 0.5 + 0.5)
        for centre in range(size + 1 - side % 2):
            found = cut_out(x, *offset(centre, 0))
            rows = (torch.arange(side) + centre - side // 2).clamp(0, size - 1)
            columns = (torch.arange(side) - side // 2).clamp(0, size - 1)
            expected = x.clone()
            expected[:, :, rows[:, None], columns] = 0
            assert torch.equal(found, expected)

    def test_each_image_has_its_own_hole_and_all_centres_occur(self):
        x = torch.ones(300, 1, 8, 8)
        found = Draw("cutout", uniforms(300)).apply(x)
        holes = {tuple(torch.where((image == 0).any(1))[0].tolist()) for image in found[:, 0]}
        # Centres 0 to 8: the rows of a square of 4, cut off by the border.
        assert holes == {tuple(range(max(c - 2, 0), min(c + 2, 8))) for c in range(9)}


class TestFlip:
    def test_some_are_mirrored(self):
        x = images()
        found = mirror(x, torch.tensor([True, False, True, False]))
        assert torch.equal(found[0], x[0].flip(2))
        assert torch.equal(found[1], x[1])
        assert torch.equal(mirror(x, torch.tensor([True])), x.flip(3))

    def test_half_of_all(self):
        x = images((2000, 1, 1, 2))
        flipped = (Draw("flip", uniforms(2000)).apply(x) != x).any(3).double().mean()
        assert abs(float(flipped) - 0.5) < 0.05


def test_scales_and_angles_have_the_published_ranges():
    """Read off two ramps: a warp of x and of y has the warp's matrix as its slopes."""
    axis = torch.linspace(-1, 1, 33, dtype=torch.float64)
    ramps = torch.stack([axis.expand(33, 33), axis.view(-1, 1).expand(33, 33)]).unsqueeze(0)
    for corner, scale, angle in ((0.0, 1 / 1.2, -15), (1.0, 1.2, 15)):
        for name in ("scale", "rotate"):
            found = Draw(name, torch.full((1, 3), corner)).apply(ramps)[0]
            across = (found[:, 16, 20] - found[:, 16, 16]) / (axis[20] - axis[16])
            expected = (scale, 0.0) if name == "scale" else turned(angle)
            torch.testing.assert_close(across, torch.tensor(expected, dtype=torch.float64))


def turned(degrees):
    return (math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))


def offset(row, column):
    return torch.tensor([row]), torch.tensor([column])


class TestSharing:
    @every_operation
    def test_one_draw_changes_batches_of_any_size_alike(self, name):
        draw, x = Draw(name, uniforms(1)), images((5, 3, 8, 8))
        together = draw.apply(x)
        alone = torch.cat([draw.apply(image.unsqueeze(0)) for image in x])
        torch.testing.assert_close(together, alone)

    @every_operation
    def test_repeated_rows_are_the_shared_draw(self, name):
        x = images((5, 3, 8, 8))
        shared, repeated = Draw(name, uniforms(1)), Draw(name, uniforms(1).expand(5, 3))
        torch.testing.assert_close(shared.apply(x), repeated.apply(x))

    @every_operation
    def test_each_image_is_changed_by_its_own_row(self, name):
        x, rows = images((5, 3, 8, 8)), uniforms(5)
        together = Draw(name, rows).apply(x)
        alone = [
            Draw(name, row.unsqueeze(0)).apply(image.unsqueeze(0))
            for image, row in zip(x, rows, strict=True)
        ]
        torch.testing.assert_close(together, torch.cat(alone))


class TestDraws:
    def test_every_operation_occurs_equally_often(self):
        draw = Streams(0).generator("operations")
        names = [siamese_draw(OPERATIONS, draw).operation for _ in range(1200)]
        counts = {name: names.count(name) for name in OPERATIONS}
        assert all(140 < count < 260 for count in counts.values()), counts

    def test_digits_are_never_flipped(self):
        assert set(OPERATIONS) - set(WITHOUT_FLIP) == {"flip"}

    def test_the_generator_alone_decides(self):
        first, again = (individual_draw(OPERATIONS, Streams(3).generator("a"), 4) for _ in "ab")
        other = individual_draw(OPERATIONS, Streams(4).generator("a"), 4)
        assert first.operation == again.operation
        assert torch.equal(first.uniforms, again.uniforms)
        assert not torch.equal(first.uniforms, other.uniforms)

    def test_float32_stays_float32(self):
        x = images().float()
        assert all(Draw(name, uniforms(1)).apply(x).dtype == torch.float32 for name in OPERATIONS)


class TestGradients:
    @every_operation
    @pytest.mark.parametrize("rows", [1, 2])
    def test_gradcheck(self, name, rows):
        draw = Draw(name, uniforms(rows, seed=5))
        assert torch.autograd.gradcheck(draw.apply, images((2, 3, 4, 4)).requires_grad_())

    @every_operation
    def test_affine_in_the_pixels(self, name):
        """So the gradient at the augmented image, carried back once, is the whole gradient."""
        draw, x, y = Draw(name, uniforms(1)), images(), images(purpose="others")
        middle = draw.apply(0.3 * x + 0.7 * y)
        torch.testing.assert_close(middle, 0.3 * draw.apply(x) + 0.7 * draw.apply(y))

    @every_operation
    def test_through_a_network_and_its_parameter_gradients(self, name):
        """The double backward pass of gradient matching, by finite differences in one direction."""
        network = build("ConvNetD1", 3, 2, 8, width=2, norm="none", activation="swish").double()
        draw, labels = Draw(name, uniforms(1, seed=5)), torch.tensor([0, 1])
        x, direction = images((2, 3, 8, 8)), images((2, 3, 8, 8), "direction")

        def length(x):
            loss = F.cross_entropy(network(draw.apply(x)), labels)
            found = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
            return torch.stack([g.square().sum() for g in found]).sum()

        (gradient,) = torch.autograd.grad(length(x.requires_grad_()), x)
        step = 1e-5 * direction
        difference = (length(x + step) - length(x - step)).detach() / 2e-5
        torch.testing.assert_close((gradient * direction).sum(), difference, rtol=1e-5, atol=1e-9)
