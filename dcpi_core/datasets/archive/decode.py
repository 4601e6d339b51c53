"""Image files to arrays of bytes. What each step does is said in the package's docstring."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dcpi_core.datasets.pixels import is_grey, orientation, to_bytes

FORMATS = "PNG, JPEG, WebP, BMP or GIF"

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"RIFF", "WEBP"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
)
_SCAN = b"\xff\xda"
MOST_SCANS = 500
"""Of a progressive JPEG, which has ten or so. Each scan passes over all pixels, however few bytes
it has, so that a megabyte of them would take hours; libjpeg-turbo's own fuzzers stop here too."""


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
        if orientation(image) >= 5:  # those that turn by 90 degrees
            width, height = height, width
        return Header(width, height, is_grey(image))


def decode(data: bytes, channels: int, image_size: int | None) -> NDArray[np.uint8]:
    """All pixels as (channels, H, W); a centred square of ``image_size`` if that is given.

    Raises:
        BrokenImage: the file is truncated or otherwise cannot be decoded.
    """
    with _reporting(), _open(data) as image:
        image.load()
        return to_bytes(image, channels, image_size)


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
