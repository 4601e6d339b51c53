"""Dataset condensation with privileged information.

>>> import dcpi_core as dcpi
>>> bundle = dcpi.load("bundle/")        # a directory or a zip; every checksum is verified
>>> network = bundle.fit()               # the recipe of the bundle, privileged labels included

Names are resolved on first use, so that importing ``dcpi_core.spec`` stays free of torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dcpi_core.bundle import load
    from dcpi_core.evaluation.measure import evaluate
    from dcpi_core.methods.coreset import select
    from dcpi_core.pipeline import Workplace
    from dcpi_core.pipeline import run as condense
    from dcpi_core.spec.job import JobRequest
    from dcpi_core.spec.resolve import resolve
    from dcpi_core.training import fit

__all__ = [
    "JobRequest",
    "Workplace",
    "__version__",
    "condense",
    "evaluate",
    "fit",
    "load",
    "resolve",
    "select",
]

_HOMES = {
    "JobRequest": ("dcpi_core.spec.job", "JobRequest"),
    "Workplace": ("dcpi_core.pipeline", "Workplace"),
    "condense": ("dcpi_core.pipeline", "run"),
    "evaluate": ("dcpi_core.evaluation.measure", "evaluate"),
    "fit": ("dcpi_core.training", "fit"),
    "load": ("dcpi_core.bundle", "load"),
    "resolve": ("dcpi_core.spec.resolve", "resolve"),
    "select": ("dcpi_core.methods.coreset", "select"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
