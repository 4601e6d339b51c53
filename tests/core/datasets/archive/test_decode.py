import struct
import zlib
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dcpi_core.datasets.archive.decode import BrokenImage, decode, read_header

PIXELS = 25_000_000


def test_lossless_kinds_are_exact(make):
    pixels = make.pixels(0, 5, 7)
    for kind, settings_ in (("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})):
        data = make.encode(pixels, kind, **settings_)
        header = read_header(data, PIXELS)
        assert (header.width, header.height, header.grey) == (7, 5, False)
        np.testing.assert_array_equal(decode(data, 3, None), pixels.transpose(2, 0, 1))


def test_jpeg_is_close(make):
    pixels = np.full((16, 16, 3), (200, 100, 50), dtype=np.uint8)
    decoded = decode(make.encode(pixels, "JPEG", quality=95), 3, None)
    assert np.abs(decoded.astype(int) - pixels.transpose(2, 0, 1)).max() < 4


def test_progressive_jpegs_are_read_as_any_other(make):
    pixels = np.full((16, 16, 3), (200, 100, 50), dtype=np.uint8)
    data = make.encode(pixels, "JPEG", quality=95, progressive=True)
    assert read_header(data, PIXELS).width == 16
    assert np.abs(decode(data, 3, None).astype(int) - pixels.transpose(2, 0, 1)).max() < 4


def test_grey_stays_grey_and_widens_to_colour(make):
    pixels = make.pixels(0, 5, 7, channels=1)
    for kind in ("PNG", "BMP", "GIF"):
        data = make.encode(pixels, kind)
        assert read_header(data, PIXELS).grey
        np.testing.assert_array_equal(decode(data, 1, None), pixels[None])
        np.testing.assert_array_equal(decode(data, 3, None), np.stack([pixels] * 3))


def test_black_and_white(make):
    image = Image.fromarray(make.pixels(0, 4, 4, channels=1)).convert("1")
    data = make.encode(image)
    assert read_header(data, PIXELS).grey
    assert set(np.unique(decode(data, 1, None))) <= {0, 255}


def test_sixteen_bit_grey_keeps_its_high_byte(make):
    wide = np.array([[0, 255, 256], [0x1234, 0x8000, 0xFFFF]], dtype=np.uint16)
    data = make.encode(wide)
    assert read_header(data, PIXELS).grey
    expected = [[0, 0, 1], [0x12, 0x80, 0xFF]]
    np.testing.assert_array_equal(decode(data, 1, None)[0], expected)
    np.testing.assert_array_equal(decode(data, 3, None)[2], expected)


def test_palettes_become_colour(make):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    data = make.encode(image)
    assert not read_header(data, PIXELS).grey
    assert decode(data, 3, None)[:, 0].T.tolist() == [[10, 20, 30], [40, 50, 60]]


def test_transparency_is_laid_over_white(make):
    pixels = np.array([[[9, 9, 9, 0], [100, 0, 0, 255], [0, 0, 0, 51]]], dtype=np.uint8)
    decoded = decode(make.encode(pixels), 3, None)
    assert decoded[:, 0].T.tolist() == [[255] * 3, [100, 0, 0], [204] * 3]


def test_grey_transparency_stays_grey(make):
    data = make.encode(Image.fromarray(np.array([[[7, 0], [7, 255]]], dtype=np.uint8), "LA"))
    assert read_header(data, PIXELS).grey
    assert decode(data, 1, None).tolist() == [[[255, 7]]]


def test_transparent_palette_entry(make):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    data = make.encode(image, transparency=0)
    assert decode(data, 3, None)[:, 0].T.tolist() == [[255] * 3, [40, 50, 60]]


def test_cmyk_jpeg_becomes_colour(make):
    data = make.encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    assert not read_header(data, PIXELS).grey
    red = decode(data, 3, None)[:, 4, 4]
    assert red[0] > 200
    assert red[1:].max() < 60


def test_first_frame_of_an_animation(make):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = make.encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data, 3, None)[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(make, orientation):
    """Stored as a camera would, read as a person would see it."""
    upright = make.pixels(0, 3, 5)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> Image.Transpose
    stored = Image.fromarray(upright)
    if orientation in undo:
        stored = stored.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = make.encode(stored, exif=exif)
    header = read_header(data, PIXELS)
    assert (header.width, header.height) == (5, 3)
    np.testing.assert_array_equal(decode(data, 3, None), upright.transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(40, 10), (10, 40), (10, 10), (12, 30)])
def test_square_is_the_centre(make, size):
    """Black outside the central square leaves no trace within it."""
    width, height = size
    side = min(size)
    pixels = np.zeros((height, width), dtype=np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    pixels[top : top + side, left : left + side] = 200
    square = decode(make.encode(pixels), 1, 8)
    assert square.shape == (1, 8, 8)
    assert square[0, 2:-2, 2:-2].min() == 200


def test_square_of_the_right_size_is_untouched(make):
    pixels = make.pixels(0, 8, 8)
    np.testing.assert_array_equal(decode(make.encode(pixels), 3, 8), pixels.transpose(2, 0, 1))


def test_very_long_images_stay_small(make):
    data = make.encode(np.zeros((1, 100_000), dtype=np.uint8))
    assert decode(data, 1, 512).shape == (1, 512, 512)


def test_too_many_pixels_are_refused_before_decoding():
    data = png_header(60_000, 60_000)
    with pytest.raises(BrokenImage):
        read_header(data, PIXELS)
    with pytest.raises(BrokenImage, match="6000 x 6000 pixels; at most 25000000"):
        read_header(png_header(6000, 6000), PIXELS)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF",
        b"hello",
        b"%PDF-1.7",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"II*\0" + bytes(100),  # TIFF
        b"P6 1 1 255 abc",
        b"\0\0\1\0" + bytes(100),  # ICO
    ],
)
def test_other_formats_are_refused(data):
    with pytest.raises(BrokenImage, match="is not a PNG, JPEG, WebP, BMP or GIF"):
        read_header(data, PIXELS)


@pytest.mark.parametrize("start", [b"\xff\xd8\xff", b"GIF89a", b"BM", b"RIFF"])
def test_unreadable_headers_are_described(start):
    with pytest.raises(BrokenImage, match="cannot be decoded") as caught:
        read_header(start + b"nonsense", PIXELS)
    assert "0x" not in str(caught.value), "the address of a buffer helps nobody"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_truncated_images_are_broken(make, kind):
    data = make.encode(make.pixels(0, 32, 32), kind)
    with pytest.raises(BrokenImage):
        read_and_decode(data[: len(data) // 2])


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "GIF"]))
def test_damage_never_escapes(data, kind):
    """Any damage: either pixels of the announced shape or BrokenImage."""
    image = Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3))
    buffer = BytesIO()
    image.save(buffer, kind)
    damaged = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BrokenImage):
        read_and_decode(bytes(damaged), max_pixels=1_000_000)


def read_and_decode(data, max_pixels=PIXELS):
    header = read_header(data, max_pixels)
    pixels = decode(data, 3, None)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (3, header.height, header.width)


def png_header(width, height):
    chunk = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    return data + struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 0) + b"IDAT" + bytes(4)
