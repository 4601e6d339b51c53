"""Tensors and numbers on disk: safetensors with a JSON header, written atomically.

A state is a dataclass whose fields are tensors, dictionaries of tensors, or JSON values; ``pack``
and ``unpack`` turn any of them into what ``save_tensors`` stores. No pickle anywhere.
"""

import dataclasses
import json
import logging
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dcpi_core.spec.errors import CheckpointError

logger = logging.getLogger(__name__)

State = TypeVar("State")

_HEADER = "state"


def save_tensors(path: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write tensors and JSON ``values`` so that a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    save_file(_unshared(tensors), temporary, metadata={_HEADER: json.dumps(values, sort_keys=True)})
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, contiguous, each with memory of its own, as safetensors demands."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in tensors.items():
        plain = value.detach().cpu().contiguous()
        if plain.untyped_storage().data_ptr() in seen:
            plain = plain.clone()
        seen.add(plain.untyped_storage().data_ptr())
        found[name] = plain
    return found


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_tensors`` wrote.

    Raises:
        CheckpointError: the file is not one of ours or is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            # Copies: a tensor that lies in the file's own memory is not aligned as others are, and
            # vectorised kernels then round differently.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        values = json.loads(header[_HEADER])
    except Exception as error:
        raise CheckpointError(f"{path.name} cannot be read as a checkpoint: {error}") from error
    return tensors, values


def load_kept(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What an earlier job left here, marked as used now; None if nothing, or nothing readable."""
    if not path.exists():
        return None
    try:
        found = load_tensors(path)
    except CheckpointError as error:
        logger.warning("made again: %s", error)
        return None
    with suppress(OSError):  # what was not used for longest is deleted first, perhaps just now
        os.utime(path)
    return found


def pack(state: Any, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split a state dataclass into tensors (by dotted name) and JSON values."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        if isinstance(value, Tensor):
            tensors[prefix + field.name] = value
        elif isinstance(value, dict) and all(isinstance(v, Tensor) for v in value.values()):
            tensors |= {f"{prefix}{field.name}.{key}": item for key, item in value.items()}
        else:
            values[field.name] = value
    return tensors, values


def unpack(
    kind: type[State], tensors: dict[str, Tensor], values: dict[str, Any], prefix: str = ""
) -> State:
    """Rebuild the state that ``pack`` took apart."""
    fields: dict[str, Any] = dict(values)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        name = prefix + field.name
        if name in tensors:
            fields[field.name] = tensors[name]
        elif field.name not in fields:
            fields[field.name] = below(f"{name}.", tensors)
    return kind(**fields)


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with ``prefix``, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
