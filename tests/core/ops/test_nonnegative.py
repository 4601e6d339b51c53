import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dcpi_core.ops.nonnegative import nonnegative_least_squares
from tests.core.ops.naive_selection import normal


def test_a_weight_that_would_be_negative_is_zero():
    gram = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    found = nonnegative_least_squares(gram, torch.tensor([2.0, -1.0], dtype=torch.float64))
    assert found.tolist() == [1, 0]


@given(st.integers(1, 20), st.integers(1, 8), st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_no_weight_can_be_improved(count, width, seed):
    """Karush, Kuhn and Tucker: nothing to gain by any weight, nor to lose by one in use."""
    rows = normal(count, width, seed=seed)
    gram = rows @ rows.T + 1e-3 * torch.eye(count, dtype=torch.float64)
    target = rows @ normal(1, width, seed=seed + 1).squeeze(0)
    weights = nonnegative_least_squares(gram, target)
    slope = target - gram @ weights
    assert bool((weights >= 0).all())
    assert float(slope.max()) < 1e-8
    assert float((slope * weights).abs().max()) < 1e-8
