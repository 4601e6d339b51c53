"""Networks by name."""

from typing import Any

from pydantic import ValidationError

from dcpi_core.networks.base import Inputs, Network
from dcpi_core.registry import NETWORKS, Entry
from dcpi_core.spec.base import Options
from dcpi_core.spec.errors import FieldProblem, InvalidInput


def build(
    name: str,
    in_channels: int,
    num_classes: int,
    image_size: int | tuple[int, int],
    **options: Any,
) -> Network:
    """A freshly initialised network.

    The initial weights depend on torch's global generator and on nothing else; callers wrap the
    call in ``Streams.initialisation``.

    Args:
        name: a name of ``NETWORKS``, such as ``"ConvNetD3"``.
        in_channels: channels of the images.
        num_classes: number of logits.
        image_size: side of square images, or (height, width).
        **options: options of that network, such as ``width=64``.

    Raises:
        UnknownName: no network of that name; the message lists those that exist.
        InvalidInput: an option is unknown or out of range, or the images are too small.
    """
    entry = NETWORKS.get(name)
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    inputs = Inputs(in_channels, num_classes, height, width)
    if min(in_channels, num_classes, height, width) < 1:
        raise InvalidInput(f"channels, classes and image sides must be at least 1: {inputs}")
    network: Network = entry.target(inputs, _parse(entry, options))
    return network


def _parse(entry: Entry[Any], given: dict[str, Any]) -> Options:
    try:
        return entry.options(**given)
    except ValidationError as error:
        problems = [
            FieldProblem("/" + "/".join(map(str, problem["loc"])), "invalid_option", problem["msg"])
            for problem in error.errors()
        ]
        allowed = ", ".join(entry.options.model_fields) or "none"
        detail = "; ".join(f"{problem.pointer[1:]}: {problem.message}" for problem in problems)
        message = f"options of network {entry.name!r}: {detail}; its options: {allowed}"
        raise InvalidInput(message, problems) from None
