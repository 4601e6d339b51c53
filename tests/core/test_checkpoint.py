from dataclasses import dataclass

import pytest
import torch

from dcpi_core.checkpoint import load_tensors, pack, save_tensors, unpack
from dcpi_core.spec.errors import CheckpointError


@dataclass
class State:
    images: torch.Tensor
    network: dict[str, torch.Tensor]
    step: int
    names: list[str]


def test_a_state_survives_the_disk(tmp_path):
    shared = torch.arange(6.0)
    state = State(shared, {"block.0.weight": shared.view(2, 3), "bias": torch.ones(2)}, 7, ["a"])
    tensors, values = pack(state, "partial.")
    save_tensors(tmp_path / "state", tensors, {"state": values, "x": 0.1})
    tensors, values = load_tensors(tmp_path / "state")
    again = unpack(State, tensors, values["state"], "partial.")
    assert torch.equal(again.images, state.images)
    assert again.network.keys() == state.network.keys()
    assert torch.equal(again.network["block.0.weight"], state.network["block.0.weight"])
    assert (again.step, again.names, values["x"]) == (7, ["a"], 0.1)


def test_an_empty_dictionary_of_tensors_survives(tmp_path):
    tensors, values = pack(State(torch.zeros(1), {}, 0, []))
    assert unpack(State, tensors, values).network == {}


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "state"
    save_tensors(path, {"a": torch.ones(1)}, {"step": 1})
    with pytest.raises(TypeError):
        save_tensors(path, {"a": torch.zeros(1)}, {"step": object()})
    tensors, values = load_tensors(path)
    assert (float(tensors["a"]), values["step"]) == (1.0, 1)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x08\0\0\0\0\0\0\0{}      "])
def test_damage_is_a_clear_error(tmp_path, content):
    path = tmp_path / "state"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        load_tensors(path)
