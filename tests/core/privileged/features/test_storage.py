import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dcpi_core.privileged.features.storage import as_stored, store
from dcpi_core.spec.errors import InvalidInput

numbers = st.floats(-1e4, 1e4, width=32, allow_nan=False)
values = arrays.arrays("float32", (3, 2, 2, 2), elements=numbers).map(torch.from_numpy)


@given(values=values, storage=st.sampled_from(["float32", "float16", "int8"]))
def test_storing_again_changes_nothing(values, storage):
    first = store(as_stored(values, storage), storage)
    again = store(as_stored(as_stored(values, storage), storage), storage)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)


@given(values=values)
def test_int8_is_within_half_a_level_of_each_image(values):
    spread = values.flatten(1).amax(1) - values.flatten(1).amin(1)
    error = (as_stored(values, "int8") - values).flatten(1).abs().amax(1)
    level = (spread / 255).clamp(min=2.0**-14)
    assert bool((error <= 0.7 * level + 1e-3 * values.abs().max() / 1e3).all())


def test_bytes_and_dtypes():
    stored = store(torch.rand(3, 4, 2, 2), "int8")
    assert {name: tensor.nbytes for name, tensor in stored.items()} == {
        "values": 48,
        "scale": 6,
        "low": 12,
    }
    assert store(torch.rand(3, 4, 2, 2), "float16")["values"].nbytes == 96


def test_a_range_too_wide_for_int8_is_refused():
    """The step between levels would be infinite, and every value read back not a number."""
    wide = torch.tensor([0.0, 1.66e7]).view(1, 2, 1, 1)
    assert bool(torch.isfinite(as_stored(wide, "int8")).all())
    with pytest.raises(InvalidInput, match="use float32"):
        store(1.1 * wide, "int8")


def test_values_too_large_for_float16_are_refused():
    with pytest.raises(InvalidInput, match="65504"):
        store(torch.full((1, 1, 1, 1), 7e4), "float16")
