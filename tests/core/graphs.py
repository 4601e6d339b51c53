"""What autograd keeps in memory for the way back."""

from collections.abc import Callable

import torch
from torch import Tensor


def most_bytes_kept(work: Callable[[], object]) -> int:
    """Most bytes that graphs made by ``work`` in this thread held at the same time."""
    alive = most = 0

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal alive, most
            self.tensor = tensor
            alive += tensor.nbytes
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= self.tensor.nbytes

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        work()
    return most
