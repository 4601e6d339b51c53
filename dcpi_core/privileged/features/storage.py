"""How label values are stored: as they are, in half the bytes, or in a quarter.

``store`` and ``restore`` are exact inverses on values that have been stored once, so that students
are trained on precisely what a bundle holds, however often it is written and read.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from dcpi_core.spec.errors import InvalidInput

Storage = Literal["float32", "float16", "int8"]

LEVELS = 255
SMALLEST_SCALE = 2.0**-14  # the smallest normal float16


def as_stored(values: Tensor, storage: Storage) -> Tensor:
    """The values that a reader will see, float32."""
    return restore(store(values, storage))


def store(values: Tensor, storage: Storage) -> dict[str, Tensor]:
    """Tensors to store, by short name.

    ``int8`` keeps, for each image, the lowest value and the step between 256 levels. The step is
    rounded to float16 precision, which makes storing a second time change nothing.

    Args:
        values: (n, ...), float32.

    Raises:
        InvalidInput: a value is too large for float16, or an image's range for its step in int8.
    """
    if storage == "float32":
        return {"values": values}
    if storage == "float16":
        half = values.half()
        if not bool(torch.isfinite(half).all()):
            raise InvalidInput("label values exceed 65504, the largest float16; use float32")
        return {"values": half}
    flat = values.flatten(1)
    low = flat.amin(1)
    scale = ((flat.amax(1) - low) / LEVELS).clamp(min=SMALLEST_SCALE).half()
    if not bool(torch.isfinite(scale).all()):
        raise InvalidInput(
            f"label values of an image span more than {LEVELS} times 65504, the most for int8; "
            "use float32"
        )
    codes = (flat - low.unsqueeze(1)).div(scale.float().unsqueeze(1)).round().clamp(0, LEVELS)
    return {"values": (codes - 128).to(torch.int8).view_as(values), "scale": scale, "low": low}


def restore(tensors: Mapping[str, Tensor]) -> Tensor:
    """The values, float32, from what ``store`` returned."""
    values = tensors["values"]
    if values.dtype != torch.int8:
        return values.float()
    shape = (-1,) + (1,) * (values.dim() - 1)
    scale, low = tensors["scale"].float().view(shape), tensors["low"].view(shape)
    return (values.float() + 128) * scale + low
