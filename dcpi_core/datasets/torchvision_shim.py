"""The one way to torchvision, which also works where its compiled part does not load.

PyPI's torchvision wheel is compiled against the CUDA build of torch. Beside a CPU-only torch its
library cannot be loaded, which torchvision tolerates, except that its Python part then describes
two operators that were never declared: ``operator torchvision::nms does not exist``. Declaring
them makes everything work that needs no compiled operator: datasets, transforms, models.
"""

import importlib
import sys
import threading
from types import ModuleType

import torch

_MISSING = "torchvision::nms does not exist"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_lock = threading.Lock()
_declared: list[torch.library.Library] = []  # the declarations live as long as these do


def load_torchvision() -> ModuleType:
    """The module ``torchvision``.

    The plain import comes first: where it succeeds the operators are torchvision's own, and
    declaring them here would collide with them.
    """
    with _lock:
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            if _MISSING not in str(error):
                raise
        _forget_half_imported()
        _declare_operators()
        return importlib.import_module("torchvision")


def _forget_half_imported() -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == "torchvision":
            del sys.modules[name]


def _declare_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _declared.append(library)
