"""All parameters of a network as one vector, in the order of ``network.parameters()``.

One vector makes steps, distances, averages and checkpoints single operations; its pieces are
views, so using it functionally copies nothing.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


def flatten(tensors: Iterable[Tensor]) -> Tensor:
    """Concatenate tensors of any shape into one vector (P,)."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def unflatten(vector: Tensor, network: nn.Module) -> dict[str, Tensor]:
    """Views of a flat vector under the names and shapes of the network's parameters.

    Args:
        vector: (P,).
        network: gives names, shapes and order; its own values are not used.

    Returns:
        What ``torch.func.functional_call`` takes; differentiable in ``vector``.

    Raises:
        ValueError: the vector's length is not the network's number of parameters.
    """
    named = dict(network.named_parameters())
    sizes = [parameter.numel() for parameter in named.values()]
    if vector.shape != (sum(sizes),):
        raise ValueError(
            f"a vector of shape {tuple(vector.shape)} does not fit a network "
            f"of {sum(sizes)} parameters"
        )
    pieces = vector.split(sizes)
    return {
        name: piece.view(parameter.shape)
        for (name, parameter), piece in zip(named.items(), pieces, strict=True)
    }


def on_host(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors on the CPU; from a GPU in one transfer for each type of number."""
    if all(tensor.device.type == "cpu" for tensor in named.values()):
        return {name: tensor.detach() for name, tensor in named.items()}
    found: dict[str, Tensor] = {}
    for dtype in {tensor.dtype for tensor in named.values()}:
        own = {name: tensor for name, tensor in named.items() if tensor.dtype == dtype}
        pieces = flatten(own.values()).detach().cpu().split([t.numel() for t in own.values()])
        for (name, tensor), piece in zip(own.items(), pieces, strict=True):
            found[name] = piece.view(tensor.shape)
    return {name: found[name] for name in named}
