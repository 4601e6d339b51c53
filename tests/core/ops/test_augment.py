import pytest
import torch

from dcpi_core.ops.augment import augment, flip_and_shift
from dcpi_core.ops.siamese import OPERATIONS, individual_draw
from dcpi_core.rng import Streams


def shifted(image, down, right, flip):
    """One image, slowly: every pixel looked up where it came from."""
    if flip:
        image = image.flip(2)
    found = torch.zeros_like(image)
    _, height, width = image.shape
    for row in range(height):
        for column in range(width):
            y, x = row + down, column + right
            if 0 <= y < height and 0 <= x < width:
                found[:, row, column] = image[:, y, x]
    return found


def test_each_image_is_flipped_and_shifted_on_its_own():
    images = torch.rand(40, 2, 16, 8, generator=Streams(0).generator("images")) + 1
    found = flip_and_shift(images, Streams(0).generator("augment"))
    assert found.shape == images.shape
    used = set()
    for before, after in zip(images, found, strict=True):
        matches = [
            (down, right, flip)
            for down in range(-2, 3)
            for right in range(-1, 2)
            for flip in (False, True)
            if torch.equal(shifted(before, down, right, flip), after)
        ]
        assert len(matches) == 1
        used.add(matches[0])
    assert {down for down, _, _ in used} == {-2, -1, 0, 1, 2}
    assert {right for _, right, _ in used} == {-1, 0, 1}
    assert {flip for _, _, flip in used} == {False, True}


def test_same_generator_same_images():
    images = torch.rand(5, 3, 8, 8, generator=Streams(0).generator("images"))
    first, second = (flip_and_shift(images, Streams(1).generator("a")) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, flip_and_shift(images, Streams(2).generator("a")))


def test_augmentations_by_name():
    images = torch.rand(5, 3, 8, 8, generator=Streams(0).generator("images"))
    draw = individual_draw(OPERATIONS, Streams(1).generator("a"), 5)
    expected = {
        "none": images,
        "flip_shift": flip_and_shift(images, Streams(1).generator("a")),
        "dsa": draw.apply(images),
    }
    for name, wanted in expected.items():
        assert torch.equal(augment(images, name, Streams(1).generator("a")), wanted)
    with pytest.raises(KeyError):
        augment(images, "unheard_of", Streams(1).generator("a"))


def test_each_batch_has_one_operation_and_digits_are_not_flipped():
    images = torch.rand(3, 1, 8, 8, generator=Streams(0).generator("images"))
    draw = Streams(2).generator("b")
    found = [augment(images, "dsa_no_flip", draw) for _ in range(40)]
    assert not any(torch.equal(seen[0], images[0].flip(2)) for seen in found)
