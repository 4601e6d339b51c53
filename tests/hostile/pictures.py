"""Files that pose as images, or are images that would hurt their decoder: train/cat/bad.*"""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from tests.core.datasets.conftest import class_folders, encode, random_pixels
from tests.hostile.raw import (
    deflated_zeros,
    jpeg_segments,
    png_chunk,
    png_of,
    stored,
    zip_of,
)

KINDS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "BMP": "bmp", "GIF": "gif"}
PICKLE = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0ctouch /tmp/x\x85R."


def among_good(data: bytes, suffix: str = "png") -> bytes:
    """A zip of small images and this one."""
    good = class_folders() | {f"train/cat/bad.{suffix}": data}
    return zip_of(stored(path, content) for path, content in good.items())


def huge_png() -> bytes:
    """1 kB that declares 65535 x 65535 pixels."""
    return among_good(png_of(65535, 65535))


def huge_jpeg() -> bytes:
    """The same in a JPEG's frame header."""
    data = bytearray(encode(random_pixels(0), "JPEG"))
    at = next(at for marker, at in jpeg_segments(bytes(data)) if marker == 0xC0)
    data[at + 5 : at + 9] = struct.pack(">HH", 65535, 65535)
    return among_good(bytes(data), "jpg")


def huge_gif() -> bytes:
    """The same in a GIF's screen and frame."""
    data = bytearray(encode(random_pixels(0, channels=1), "GIF"))
    data[6:10] = struct.pack("<HH", 65535, 65535)
    return among_good(bytes(data), "gif")


def gif_frame_beyond_its_screen() -> bytes:
    """A small screen with a frame of 65535 x 65535."""
    data = bytearray(encode(random_pixels(0, channels=1), "GIF"))
    at = data.index(b"\x2c\0\0\0\0", 13)
    data[at + 5 : at + 9] = struct.pack("<HH", 65535, 65535)
    return among_good(bytes(data), "gif")


def huge_bmp() -> bytes:
    """The same in a BMP."""
    data = bytearray(encode(random_pixels(0), "BMP"))
    data[18:26] = struct.pack("<ll", 65535, 65535)
    return among_good(bytes(data), "bmp")


def huge_webp() -> bytes:
    """A canvas of 16384 x 16384, the largest of a lossy WebP, around a small frame."""
    vp8x = struct.pack("<B3x", 0x02) + (16383).to_bytes(3, "little") * 2
    small = encode(random_pixels(0), "WEBP")[12:]
    frame = bytes(6) + (7).to_bytes(3, "little") * 2 + bytes(4) + small
    chunks = b"VP8X" + struct.pack("<L", len(vp8x)) + vp8x
    chunks += b"ANIM" + struct.pack("<L", 6) + bytes(6)
    chunks += b"ANMF" + struct.pack("<L", len(frame)) + frame
    return among_good(b"RIFF" + struct.pack("<L", len(chunks) + 4) + b"WEBP" + chunks, "webp")


def zero_pixels() -> bytes:
    """Nothing at all, in two dimensions."""
    return among_good(png_of(0, 0))


def zip_bomb_in_a_png_profile() -> bytes:
    """A colour profile that unpacks to a gigabyte."""
    packed = b"\x78\x9c" + deflated_zeros(1024) + b"\0\0\0\0"
    return among_good(png_of(8, 8, png_chunk(b"iCCP", b"icc\0\0" + packed), bytes(72)))


def zip_bomb_in_a_png_text() -> bytes:
    """A comment that unpacks to a gigabyte."""
    packed = b"\x78\x9c" + deflated_zeros(1024) + b"\0\0\0\0"
    return among_good(png_of(8, 8, png_chunk(b"zTXt", b"Comment\0\0" + packed), bytes(72)))


def truncated(kind: str) -> bytes:
    """The first half of an image."""
    data = encode(random_pixels(0, 32, 32), kind)
    return among_good(data[: len(data) // 2], KINDS[kind])


def png_without_its_end() -> bytes:
    """All but the last few bytes of the pixels."""
    return among_good(encode(random_pixels(0, 32, 32))[:-40])


def html_as_png() -> bytes:
    """What a browser would run."""
    return among_good(b"<html><script>alert(1)</script></html>")


def svg_as_png() -> bytes:
    """What a library would fetch for."""
    text = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    return among_good(text)


def postscript_as_png() -> bytes:
    """What an interpreter would be started for."""
    return among_good(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(x) deletefile\n")


def tiff_as_png() -> bytes:
    """A decoder that is not on our list."""
    buffer = io.BytesIO()
    Image.fromarray(random_pixels(0)).save(buffer, "TIFF")
    return among_good(buffer.getvalue())


def zip_in_front_of_a_png() -> bytes:
    """A file that is a zip to one reader and an image to another."""
    return among_good(zip_of([stored("evil.class", b"x")]) + encode(random_pixels(0)))


def pickle_as_png() -> bytes:
    """Code, to whoever would unpickle it."""
    return among_good(PICKLE)


def pickle() -> bytes:
    """The same under its own name."""
    return among_good(PICKLE, "pkl")


def png_with_a_false_checksum() -> bytes:
    """Pixels that do not match their checksum."""
    data = bytearray(encode(random_pixels(0)))
    at = data.index(b"IDAT") + 20
    data[at] ^= 1
    return among_good(bytes(data))


def png_with_too_few_pixels() -> bytes:
    """25 million declared, one there."""
    return among_good(png_of(5000, 5000, pixels=b"\0\0"))


def jpeg_of_many_scans(count: int) -> bytes:
    """The last scan of a large progressive JPEG, again and again: hours of work in a few MB."""
    data = encode(np.zeros((4096, 4096), dtype=np.uint8), "JPEG", progressive=True)
    body, end = data[:-2], data[-2:]
    last = body[body.rindex(b"\xff\xda") :]
    return among_good(body + last * (count - body.count(b"\xff\xda")) + end, "jpg")


def image_with_a_payload(kind: str, payload: bytes) -> bytes:
    """A sound image with something behind its end, as phones and attackers append it."""
    data = encode(random_pixels(99), kind) + payload
    return among_good(data, KINDS[kind])


def image_with_a_text_payload(payload: bytes) -> bytes:
    """A sound PNG that carries it as a comment, packed."""
    packed = b"Comment\0\0" + zlib.compress(payload)
    return among_good(png_of(8, 8, png_chunk(b"zTXt", packed), bytes(72)))
