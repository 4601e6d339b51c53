"""A condensed set as named tensors plus JSON settings, and back, for bundles and checkpoints."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dcpi_core.condensed import CondensedSet, PrivilegedLabels
from dcpi_core.registry import PRIVILEGED_TYPES
from dcpi_core.spec.errors import BundleError, UnknownName
from dcpi_core.spec.report import ByteCount

IMAGES = "images"
LABELS = "labels"
SOURCE_INDICES = "source_indices"
WEIGHTS = "weights"


def tensor_name(kind: str, short: str) -> str:
    """The stored name of a privileged tensor, e.g. ``feature.values``."""
    return f"{kind}.{short}"


def to_tensors(condensed: CondensedSet) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Every tensor by stored name, and the JSON settings that ``from_tensors`` needs."""
    tensors = {
        IMAGES: _plain(condensed.images.to(torch.float32)),
        LABELS: _plain(condensed.labels.to(torch.int64)),
    }
    if condensed.source_indices is not None:
        tensors[SOURCE_INDICES] = _plain(condensed.source_indices.to(torch.int64))
    if condensed.weights is not None:
        tensors[WEIGHTS] = _plain(condensed.weights.to(torch.float32))
    parts: list[dict[str, Any]] = []
    for labels in condensed.privileged:
        stored, settings = labels.stored()
        for short, tensor in stored.items():
            tensors[tensor_name(labels.kind, short)] = _plain(tensor)
        parts.append({"kind": labels.kind, "tensors": sorted(stored), "settings": settings})
    return tensors, {"privileged": parts, "partition": condensed.partition}


def from_tensors(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> CondensedSet:
    """The inverse of ``to_tensors``.

    Raises:
        BundleError: a tensor is missing, or a privileged type is not known to this version.
    """
    parts = settings.get("privileged", ())
    return CondensedSet(
        images=_take(tensors, IMAGES),
        labels=_take(tensors, LABELS),
        privileged=tuple(_restore(tensors, part) for part in parts),
        source_indices=tensors.get(SOURCE_INDICES),
        partition=settings.get("partition", 1),
        weights=tensors.get(WEIGHTS),
    )


def stored_bytes(condensed: CondensedSet) -> ByteCount:
    """Bytes of the training data by part, exactly as ``to_tensors`` stores it.

    Weights count as labels. ``source_indices`` say where images came from; nobody trains on them,
    so they do not count.
    """
    tensors, settings = to_tensors(condensed)
    privileged = {
        part["kind"]: sum(tensors[tensor_name(part["kind"], s)].nbytes for s in part["tensors"])
        for part in settings["privileged"]
    }
    labels = sum(tensors[name].nbytes for name in (LABELS, WEIGHTS) if name in tensors)
    return ByteCount(images=tensors[IMAGES].nbytes, labels=labels, privileged=privileged)


def _restore(tensors: Mapping[str, Tensor], part: Mapping[str, Any]) -> PrivilegedLabels:
    kind = part["kind"]
    try:
        entry = PRIVILEGED_TYPES.get(kind)
    except UnknownName as error:
        raise BundleError(f"privileged labels cannot be read: {error.detail}") from None
    own = {short: _take(tensors, tensor_name(kind, short)) for short in part["tensors"]}
    labels: PrivilegedLabels = entry.target.labels.restore(own, part["settings"])
    return labels


def _take(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    try:
        return tensors[name]
    except KeyError:
        raise BundleError(
            f"tensor {name!r} is missing; present: {', '.join(sorted(tensors))}"
        ) from None


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()
