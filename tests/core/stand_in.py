"""A second device on a machine that has none: it computes on the CPU and is as strict as a GPU.

Inside ``stand_in()`` tensors can be made on, and sent to, the device ``DEVICE``. Each is a shell
around a CPU tensor, so values are real, and what CUDA refuses is refused: operations that mix
devices, CPU generators that draw there, reading a tensor there as if it were here.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("lazy")
"""Of torch's own devices the one that nothing else here uses."""

aten = torch.ops.aten

MOVES = {aten._to_copy.default, aten.copy_.default}
"""Operations whose tensors may be on several devices."""

INDEXED = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
"""Operations on a tensor of the device whose indices may be on the CPU."""

WAITS = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.equal.default,
    aten._unique2.default,
    aten.unique_consecutive.default,
    aten.bincount.default,
}
"""Operations for whose result the CPU has to wait."""


class Mixed(RuntimeError):
    """What CUDA answers with "Expected all tensors to be on the same device"."""


class Shell(Tensor):
    """A tensor on the stand-in."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Shell":
        return Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=DEVICE,
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __repr__(self, **_: Any) -> str:
        return f"Shell({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise Mixed(f"{func} on a tensor of the device after its end")


class StandIn(TorchDispatchMode):
    """The device, while it is there.

    Attributes:
        waits: how often the CPU had to wait for a result from it, by operation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        there = _is_there(func, args, kwargs)
        if _is_waited_for(func, args, kwargs):
            self.waits[str(func)] += 1
        if kwargs.get("device") is not None:
            there = _is_the_device(kwargs["device"])
            kwargs["device"] = torch.device("cpu")
        out = func(*tree_map(_held, args), **tree_map(_held, kwargs))
        if not there:
            return out
        return return_and_correct_aliasing(func, args, kwargs, tree_map(_shelled, out))


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """The device exists in here."""
    # So that ``torch.tensor(..., device=DEVICE)`` is an operation that the mode sees.
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with StandIn() as device:
            yield device
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


def _shelled(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    # Forward-mode differentiation has zeros without memory, which a shell could not show.
    return Shell(torch.zeros_like(value) if value._is_zerotensor() else value)


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Shell) else value


def _is_the_device(device: Any) -> bool:
    return device is not None and torch.device(device).type == DEVICE.type


def _is_waited_for(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether the CPU goes on only when the device has come this far.

    That is so for copies to the CPU; for copies from it unless they are ``non_blocking``; and for
    indices that lie on the CPU, or whose number is not known before a mask has been counted.
    """
    if func is aten.copy_.default:
        to, source = (isinstance(value, Shell) for value in args[:2])
        non_blocking = len(args) > 2 and args[2]
    elif func is aten._to_copy.default and kwargs.get("device") is not None:
        to, source = _is_the_device(kwargs["device"]), isinstance(args[0], Shell)
        non_blocking = kwargs.get("non_blocking", False)
    elif func in INDEXED and isinstance(args[0], Shell):
        indices = [index for index in args[1] if index is not None]
        return any(not isinstance(i, Shell) or i.dtype == torch.bool for i in indices)
    else:
        return func in WAITS and isinstance(args[0], Shell)
    return to != source and (source or not non_blocking)


def _is_there(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether an operation runs on the device.

    Raises:
        Mixed: CUDA would refuse it.
    """
    flat, _ = tree_flatten((args, kwargs))
    tensors = [value for value in flat if isinstance(value, Tensor)]
    there = [value for value in tensors if isinstance(value, Shell)]
    drawn = any(isinstance(value, torch.Generator) for value in flat)
    if drawn and (there or _is_the_device(kwargs.get("device"))):
        raise Mixed(f"{func} draws on the device with a generator of the CPU")
    if func in MOVES:
        return isinstance(args[0], Shell)
    here = [value for value in tensors if not isinstance(value, Shell) and value.dim() > 0]
    if func in INDEXED and isinstance(args[0], Shell):
        here = [value for value in here if not any(value is index for index in args[1])]
    if there and here:
        shapes = ", ".join(str(tuple(value.shape)) for value in here)
        raise Mixed(f"{func} on the device has arguments on the CPU, of shapes {shapes}")
    return bool(there)
