"""Images whose gradient step lowers the loss on validation images most."""

from typing import NamedTuple

import torch
from torch import Tensor

from dcpi_core.ops.greedy import ROUNDING, first_true
from dcpi_core.ops.last_layer import OuterProducts, errors, with_bias
from dcpi_core.spec.errors import InvalidInput


class Validation(NamedTuple):
    """Images that a selection is judged by: (v, C) logits, (v,) labels, (v, D) last inputs."""

    logits: Tensor
    labels: Tensor
    inputs: Tensor


def validation_gain(
    candidates: OuterProducts, validation: Validation, count: int, step_size: float
) -> Tensor:
    """Greedy descent of the validation loss by single steps of the last layer.

    Each pick is the image whose gradient has the largest inner product with the gradient of the
    mean validation loss, taken at the weights that the picks so far have led to: after a pick with
    error e and input h, a validation image with input h' has its logits lowered by
    ``step_size * <(h', 1), (h, 1)> * e`` (Killamsetty et al., AAAI 2021). The candidates' own
    gradients stay those of the start.

    Args:
        candidates: last-layer gradients of n images.
        validation: the images to do well on.
        count: how many to pick.
        step_size: learning rate of the step that is imagined.

    Returns:
        (count,) int64 indices in pick order; ties, up to rounding, go to the lowest index.

    Raises:
        InvalidInput: ``count`` is not in 1..n.
    """
    if not 1 <= count <= len(candidates):
        raise InvalidInput(f"cannot pick {count} of {len(candidates)} rows")
    logits, read = validation.logits.double(), with_bias(validation.inputs)
    left = candidates.left.to(read.dtype)
    longest = candidates.squares.max().sqrt()
    rounding = ROUNDING * torch.finfo(read.dtype).eps
    picked: list[int] = []
    while True:
        error = errors(logits, validation.labels).to(read.dtype)
        slope = error.T @ read / len(read)
        gains = ((left @ slope) * candidates.right).sum(1)
        gains[picked] = -torch.inf
        tolerance = rounding * longest * slope.norm()
        picked.append(first_true(gains >= gains.max() - tolerance))
        if len(picked) == count:
            return torch.tensor(picked)
        kernel = (read @ candidates.right[picked[-1]]).double()
        logits = logits - step_size * torch.outer(kernel, candidates.left[picked[-1]].double())
