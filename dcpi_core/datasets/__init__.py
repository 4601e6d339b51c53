"""Source datasets: published ones by name, archives that have been checked, and one's own.

Names are loaded on first use, so that ``dcpi_core.datasets.archive`` can be imported, and run as
a child process of the web service, without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcpi_core.datasets.archive import Limits, inspect_archive
    from dcpi_core.datasets.base import ImageDataset, Split, denormalise, normalise
    from dcpi_core.datasets.loading import load, load_prepared
    from dcpi_core.datasets.own import from_samples, from_splits

__all__ = [
    "load",
    "load_prepared",
    "from_samples",
    "from_splits",
    "inspect_archive",
    "ImageDataset",
    "Limits",
    "Split",
    "normalise",
    "denormalise",
]

_HOMES = {
    "load": "loading",
    "load_prepared": "loading",
    "from_samples": "own",
    "from_splits": "own",
    "inspect_archive": "archive",
    "Limits": "archive",
    "ImageDataset": "base",
    "Split": "base",
    "normalise": "base",
    "denormalise": "base",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
