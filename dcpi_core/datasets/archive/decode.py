"""Image files to arrays of bytes. What each step does is said in the package's docstring."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = "PNG, JPEG, WebP, BMP or GIF"

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"RIFF", "WEBP"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
)
_ORIENTATION = 0x0112
_SCAN = b"\xff\xda"
MOST_SCANS = 500
"""Of a progressive JPEG, which has ten or so. Each scan passes over all pixels, however few bytes
it has, so that a megabyte of them would take hours; libjpeg-turbo's own fuzzers stop here too."""
_GREY_MODES = ("1", "L", "LA", "La")


class BrokenImage(Exception):
    """A file that is no image we can read; the message completes "entry 'x.png' ..."."""


@dataclass(frozen=True)
class Header:
    """What an image says of itself, before it is decoded, the right way up."""

    width: int
    height: int
    grey: bool


def read_header(data: bytes, max_pixels: int) -> Header:
    """Size and colour of an image.

    Raises:
        BrokenImage: no known format, an unreadable header, or more than ``max_pixels``.
    """
    with _reporting(), _open(data) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise BrokenImage(f"has {width} x {height} pixels; at most {max_pixels} are allowed")
        # Within a scan's data FF is always followed by 00, so this finds markers alone.
        if image.format == "JPEG" and data.count(_SCAN) > MOST_SCANS:
            raise BrokenImage(f"has more than the {MOST_SCANS} scans allowed")
        if _orientation(image) >= 5:  # those that turn by 90 degrees
            width, height = height, width
        return Header(width, height, _is_grey(image))


def decode(data: bytes, channels: int, image_size: int | None) -> NDArray[np.uint8]:
    """All pixels as (channels, H, W); a centred square of ``image_size`` if that is given.

    Raises:
        BrokenImage: the file is truncated or otherwise cannot be decoded.
    """
    with _reporting(), _open(data) as image:
        image.load()
        flat = _flatten(image, "L" if channels == 1 else "RGB")
        if image_size is not None:
            flat = _central_square(flat, image_size)
        pixels = np.asarray(flat, dtype=np.uint8)
    return pixels[np.newaxis] if channels == 1 else pixels.transpose(2, 0, 1)


@contextmanager
def _reporting() -> Iterator[None]:
    try:
        yield
    except (BrokenImage, MemoryError):
        raise
    except UnidentifiedImageError:  # its message is the address of a buffer
        raise BrokenImage("cannot be decoded: unreadable header") from None
    # A hostile file can make a decoder raise anything; whatever it is, the image is broken.
    except Exception as error:
        raise BrokenImage(f"cannot be decoded: {str(error) or type(error).__name__}") from error


def _open(data: bytes) -> Image.Image:
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return Image.open(BytesIO(data), formats=(kind,))
    raise BrokenImage(f"is not a {FORMATS} image")


def _orientation(image: Image.Image) -> int:
    # Looked up only where there is one: asking Pillow for it would decode a PNG to the end.
    return int(image.getexif().get(_ORIENTATION, 1)) if "exif" in image.info else 1


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "P":
        colours = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
        return bool((colours == colours[:, :1]).all())
    return image.mode in _GREY_MODES or image.mode.startswith("I")


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        # 16-bit grey; Pillow's own conversion clips at 255 instead of scaling.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert(mode)
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        image = canvas
    return image.convert(mode)


def _central_square(image: Image.Image, size: int) -> Image.Image:
    """The largest centred square, resized: the shorter side becomes ``size``.

    Cropping first gives the same square as resizing first, and a 25,000,000 x 1 image stays small.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)
