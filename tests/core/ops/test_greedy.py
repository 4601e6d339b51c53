"""Greedy selection: published picks, a slow obvious version, ties, and how good the picks are."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from dcpi_core.ops.greedy import herding, k_center
from dcpi_core.spec.errors import InvalidInput

GOLDEN = Path(__file__).parents[2] / "golden"


def normal(n, d, seed=0, dtype=torch.float64):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class TestGolden:
    golden = load_file(GOLDEN / "coreset.safetensors")
    facts = json.loads((GOLDEN / "coreset.json").read_text())

    def test_k_center(self):
        found = k_center(self.golden["features"], 20, self.facts["k_center_first"])
        assert int(found[0]) == self.facts["k_center_first"]
        assert sorted(found.tolist()) == self.golden["k_center"].tolist()

    def test_herding(self):
        found = herding(self.golden["features"], 20)
        assert found.tolist() == self.golden["herding"].tolist()


def naive_k_center(rows, count, first):
    """All distances, in exact arithmetic; the lowest index wins ties."""
    picked = [first]
    while len(picked) < count:
        free = [i for i in range(len(rows)) if i not in picked]
        picked.append(max(free, key=lambda i: (min(squared(rows[i], rows[j]) for j in picked), -i)))
    return picked


def naive_herding(rows, count):
    """The mean of every possible next selection, in exact arithmetic."""
    mean = [Fraction(sum(column), len(rows)) for column in zip(*rows, strict=True)]
    picked = []
    while len(picked) < count:
        free = [i for i in range(len(rows)) if i not in picked]

        def gap(i):
            chosen = [rows[j] for j in [*picked, i]]
            own = [Fraction(sum(column), len(chosen)) for column in zip(*chosen, strict=True)]
            return squared(own, mean)

        picked.append(min(free, key=lambda i: (gap(i), i)))
    return picked


def squared(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


@st.composite
def grids(draw):
    """Small integer matrices: full of duplicates and ties, and exact in every precision."""
    width = draw(st.integers(1, 3))
    row = st.lists(st.integers(-3, 3), min_size=width, max_size=width)
    rows = draw(st.lists(row, min_size=1, max_size=10))
    return rows, draw(st.integers(1, len(rows))), draw(st.integers(0, len(rows) - 1))


@given(grids(), st.sampled_from([torch.float32, torch.float64, torch.float16, torch.int64]))
@settings(max_examples=150, deadline=None)
def test_both_are_their_slow_versions(case, dtype):
    rows, count, first = case
    features = torch.tensor(rows, dtype=dtype)
    assert k_center(features, count, first).tolist() == naive_k_center(rows, count, first)
    assert herding(features, count).tolist() == naive_herding(rows, count)


class TestKCenter:
    def test_toy_points(self):
        line = torch.tensor([[0.0], [1.0], [10.0], [6.0], [4.9]])
        assert k_center(line, 4, 0).tolist() == [0, 2, 4, 3]

    def test_duplicates_are_never_picked_twice(self):
        features = torch.ones(6, 3)
        assert k_center(features, 6, 2).tolist() == [2, 0, 1, 3, 4, 5]

    def test_far_from_the_origin(self):
        """Expanded squares of such rows have no correct digit left in float32."""
        near = normal(200, 8, dtype=torch.float32)
        near = (near * 64).round() / 64  # exact after the shift
        assert torch.equal(k_center(near + 4096, 20, 3), k_center(near, 20, 3))

    def test_starts_at_the_centre_unless_told(self):
        """Of two rows that are equally near to the mean, whatever rounding says: the first."""
        pair = normal(2, 64, dtype=torch.float32)
        assert k_center(pair, 2).tolist() == [0, 1]
        line = torch.tensor([[0.0], [5.0], [6.0], [10.0]])
        assert k_center(line, 2).tolist() == [1, 0]

    def test_covers_better_than_chance(self):
        features = normal(400, 4)

        def radius(chosen):
            return float(torch.cdist(features, features[chosen]).min(1).values.max())

        random = [
            radius(torch.randperm(400, generator=torch.Generator().manual_seed(seed))[:20])
            for seed in range(10)
        ]
        assert radius(k_center(features, 20, 0)) < min(random)

    def test_a_shorter_selection_is_a_prefix(self):
        features = normal(60, 5)
        assert k_center(features, 30, 7)[:12].tolist() == k_center(features, 12, 7).tolist()

    @pytest.mark.parametrize("first", [-1, 5])
    def test_first_must_exist(self, first):
        with pytest.raises(InvalidInput, match=f"one of 5 rows.*{first}"):
            k_center(normal(5, 2), 2, first)


class TestHerding:
    def test_toy_points(self):
        """Mean 3: first 3 itself, then 4 and 2 would miss by 1/2 each: the lower index."""
        line = torch.tensor([[0.0], [4.0], [2.0], [3.0], [6.0]])
        assert herding(line, 3).tolist() == [3, 1, 2]

    def test_keeps_the_mean_better_than_chance(self):
        features = normal(500, 16).relu()
        mean = features.mean(0)
        draw = torch.Generator().manual_seed(1)
        for count in (1, 10, 50):
            gap = (features[herding(features, count)].mean(0) - mean).norm()
            for _ in range(5):
                other = torch.randperm(500, generator=draw)[:count]
                assert gap < (features[other].mean(0) - mean).norm()

    def test_all_of_them(self):
        for scale in (1e-6, 1.0, 1e6):
            assert sorted(herding(scale * normal(40, 3), 40).tolist()) == list(range(40))

    def test_a_shift_changes_nothing(self):
        features = (normal(200, 8, dtype=torch.float32) * 64).round() / 64
        assert torch.equal(herding(features + 4096, 20), herding(features, 20))


@pytest.mark.parametrize("select", [herding, lambda x, count: k_center(x, count, 0)])
class TestRefusals:
    @pytest.mark.parametrize("count", [0, -1, 6])
    def test_count(self, select, count):
        with pytest.raises(InvalidInput, match=f"cannot pick {count} of 5"):
            select(normal(5, 2), count)

    def test_shape(self, select):
        with pytest.raises(InvalidInput, match="matrix"):
            select(normal(5, 2).view(5, 2, 1), 2)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e200])
    def test_values(self, select, value):
        features = normal(5, 2)
        features[3, 1] = value
        with pytest.raises(InvalidInput, match="NaN, infinite or too large"):
            select(features, 2)

    def test_the_features_are_left_alone(self, select):
        for features in (normal(5, 2), normal(2, 5).t()):  # either memory layout
            before = features.clone()
            select(features, 3)
            assert torch.equal(features, before)

    def test_indices_are_integers_in_pick_order(self, select):
        found = select(normal(9, 2).requires_grad_(), 4)
        assert found.dtype == torch.int64
        assert not found.requires_grad
        assert len(set(found.tolist())) == 4


def test_equal_rows_are_equal_wherever_they_stand():
    """Rounding of a product depends on a row's position; the choice must not."""
    base = normal(40, 100, dtype=torch.float32)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(2)) % 40
    features = base[order]
    for picked in (k_center(features, 40, 0), herding(features, 40)):
        for position, index in enumerate(picked.tolist()):
            same = (order == order[index]).nonzero().squeeze(1).tolist()
            earlier = set(same) & set(picked[:position].tolist())
            assert index == min(set(same) - earlier)
