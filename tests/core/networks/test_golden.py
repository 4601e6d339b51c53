"""Networks against the published ones: parameter counts, feature sizes, logits."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dcpi_core.networks import build

GOLDEN = Path(__file__).parents[2] / "golden"
CELLS = json.loads((GOLDEN / "networks.json").read_text())
SUPPORTED = {cell: facts for cell, facts in CELLS.items() if facts != "unsupported"}


def built(cell: str):
    name, image, classes = cell.split("/")
    channels, side = map(int, image.split("x"))
    with torch.device("meta"):
        return build(name, channels, int(classes), side)


@pytest.mark.parametrize("cell", SUPPORTED)
def test_parameter_count(cell):
    count = sum(parameter.numel() for parameter in built(cell).parameters())
    assert count == SUPPORTED[cell]["params"]


@pytest.mark.parametrize("cell", [c for c, facts in SUPPORTED.items() if facts["embed"]])
def test_feature_size(cell):
    shape = built(cell).feature_shape()
    assert shape[0] * shape[1] * shape[2] == SUPPORTED[cell]["embed"][1]


def test_the_walk_saw_them_all():
    assert len(SUPPORTED) >= 20
    assert {cell.partition("/")[0] for cell in SUPPORTED} >= {"ConvNet", "LeNet", "MLP", "VGG11BN"}


def test_features_and_logits():
    golden = load_file(GOLDEN / "matching.safetensors")
    order = json.loads((GOLDEN / "trajectory.json").read_text())["param_order"]
    network = build("ConvNetD3", 3, 10, 32, width=16).double()
    for parameter, name in zip(network.parameters(), order, strict=True):
        parameter.data.copy_(golden[f"param.{name}"])
    features = network.features(golden["x_real"])
    torch.testing.assert_close(features.flatten(1), golden["features_real"], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        network(golden["x_real"]), golden["logits_real"], rtol=1e-9, atol=1e-12
    )
