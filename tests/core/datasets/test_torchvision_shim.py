import subprocess
import sys
from types import ModuleType

import pytest

from dcpi_core.datasets import torchvision_shim

PROBE = """
import warnings
warnings.simplefilter("error")
from dcpi_core.datasets.torchvision_shim import load_torchvision
torchvision = load_torchvision()
assert load_torchvision() is torchvision
import torch, torchvision.ops, torchvision.transforms.v2, torchvision.models
from torchvision.datasets import CIFAR10, FakeData
assert FakeData(size=1, image_size=(3, 4, 4))[0][0].size == (4, 4)
assert torchvision.transforms.functional.pil_to_tensor(FakeData(size=1)[0][0]).shape[0] == 3
boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
assert torchvision.ops.box_iou(boxes, boxes).item() == 1
assert str(torch.ops.torchvision.nms.default._schema).startswith("torchvision::nms(Tensor dets")
print("fine")
"""


def test_torchvision_works_in_a_fresh_process(root):
    done = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "fine\n", done.stderr


def test_a_working_torchvision_is_left_alone(monkeypatch):
    native = ModuleType("torchvision")
    monkeypatch.setattr(torchvision_shim.importlib, "import_module", lambda _: native)
    monkeypatch.setattr(torchvision_shim, "_declare_operators", lambda: pytest.fail("declared"))
    assert torchvision_shim.load_torchvision() is native


def test_other_failures_pass_through(monkeypatch):
    def broken(_):
        raise RuntimeError("something else")

    monkeypatch.setattr(torchvision_shim.importlib, "import_module", broken)
    with pytest.raises(RuntimeError, match="something else"):
        torchvision_shim.load_torchvision()
