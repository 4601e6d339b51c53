"""Opened images to arrays of bytes: upright, opaque, grey or RGB, of the size asked for."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

_ORIENTATION = 0x0112
_GREY_MODES = ("1", "L", "LA", "La")


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; those from 5 on are turned by 90 degrees."""
    # Looked up only where there is one: asking Pillow for it would decode a PNG to the end.
    return int(image.getexif().get(_ORIENTATION, 1)) if "exif" in image.info else 1


def is_grey(image: Image.Image) -> bool:
    """Whether the image's mode or palette has no colours."""
    if image.mode == "P":
        colours = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
        return bool((colours == colours[:, :1]).all())
    return image.mode in _GREY_MODES or image.mode.startswith("I")


def to_bytes(image: Image.Image, channels: int, image_size: int | None) -> NDArray[np.uint8]:
    """All pixels as (channels, H, W).

    Turned as the orientation says; transparency laid over white; 16-bit grey reduced to its high
    byte; the central square resized to ``image_size``, bicubic, if that is given.
    """
    flat = _flatten(image, "L" if channels == 1 else "RGB")
    if image_size is not None:
        flat = _central_square(flat, image_size)
    pixels = np.asarray(flat, dtype=np.uint8)
    return pixels[np.newaxis] if channels == 1 else pixels.transpose(2, 0, 1)


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    if orientation(image) != 1:
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
