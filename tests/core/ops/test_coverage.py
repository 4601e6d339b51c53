import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dcpi_core.ops import coverage as module
from dcpi_core.ops.coverage import coverage
from tests.core.ops.naive_selection import normal


def test_points_on_a_line():
    rows = torch.tensor([[0.0], [1.0], [5.0], [9.0], [10.0]])
    found = coverage(rows, torch.tensor([4, 1]))
    assert found.nearest_chosen.tolist() == [1, 1, 1, 0, 0]
    assert found.to_chosen.tolist() == [1, 0, 4, 1, 0]
    assert found.nearest_other.tolist() == [3, 0]
    assert found.to_other.tolist() == [1, 1]


def test_everything_chosen_leaves_no_neighbours():
    found = coverage(normal(3, 2), torch.tensor([2, 0, 1]))
    assert found.nearest_chosen.tolist() == [1, 2, 0]
    assert found.to_chosen.tolist() == [0, 0, 0]
    assert len(found.nearest_other) == len(found.to_other) == 0


def test_equal_rows_are_at_distance_zero_far_from_the_origin():
    rows = torch.tensor([[4e5, 1.0], [4e5, 1.0], [4e5, 3.0]])
    found = coverage(rows, torch.tensor([0]))
    assert found.to_chosen.tolist() == [0, 0, 2]


@given(st.integers(2, 15), st.integers(0, 10_000), st.data())
@settings(max_examples=50, deadline=None)
def test_distances_are_those_of_all_pairs(n, seed, data):
    rows = normal(n, 3, seed=seed)
    chosen = torch.tensor(data.draw(st.permutations(range(n)))[: data.draw(st.integers(1, n - 1))])
    apart = (rows.unsqueeze(1) - rows.unsqueeze(0)).norm(dim=2)
    found = coverage(rows, chosen)
    torch.testing.assert_close(found.to_chosen, apart[:, chosen].amin(1))
    others = [i for i in range(n) if i not in chosen.tolist()]
    torch.testing.assert_close(found.to_other, apart[chosen][:, others].amin(1))
    torch.testing.assert_close(apart[chosen, found.nearest_other], found.to_other)


def test_pieces_make_no_difference(monkeypatch):
    rows, chosen = normal(40, 3), torch.tensor([7, 30, 2, 19, 11])
    whole = coverage(rows, chosen)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(module, "TARGETS_AT_ONCE", 2)
    for pieced, full in zip(coverage(rows, chosen), whole, strict=True):
        torch.testing.assert_close(pieced, full)
