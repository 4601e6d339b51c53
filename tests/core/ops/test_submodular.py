"""What the rules' own tests leave open: sizes beyond a batch of rows, memory, quality, refusals."""

import weakref

import pytest
import torch

from dcpi_core.ops import submodular
from dcpi_core.ops.gradient_matching import matching_pursuit
from dcpi_core.ops.last_layer import OuterProducts
from dcpi_core.ops.submodular import facility_location, graph_cut
from dcpi_core.ops.validation_gain import Validation, validation_gain
from dcpi_core.spec.errors import InvalidInput
from tests.core.ops import naive_selection as naive
from tests.core.ops.naive_selection import normal, written_out


def vectors(n, dtype=torch.float64):
    return OuterProducts(normal(n, 3, dtype=dtype), normal(n, 4, seed=1, dtype=dtype))


def similarity_of(found):
    return naive.cosine_similarity(written_out(found))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_more_images_than_rows_at_once(dtype):
    """Bounds and batches at work: the picks are still those of the plain greedy algorithm."""
    found = vectors(150, dtype)
    similarity = similarity_of(found)
    picked = facility_location(lambda i: similarity[i].to(dtype), 150, 12)
    assert picked.tolist() == naive.facility_location(similarity, 12)
    for redundancy in (None, 0.0, 1.0, 7.5):
        wanted = naive.graph_cut(similarity, 12, redundancy)
        assert graph_cut(found, 12, redundancy).tolist() == wanted


def test_rows_made_again_when_they_do_not_fit(monkeypatch):
    similarity, asked = similarity_of(vectors(100)), []
    monkeypatch.setattr(submodular, "ROWS_AT_ONCE", 5)
    made: list[weakref.ref] = []

    def rows(index):
        asked.append(len(index))
        assert sum(len(block()) for block in made if block() is not None) <= 20
        found = similarity[index]
        made.append(weakref.ref(found))
        return found

    stored = facility_location(rows, 100, 20)
    once = sum(asked)
    monkeypatch.setattr(submodular, "STORED_BYTES", 0)
    assert facility_location(rows, 100, 20).tolist() == stored.tolist()
    assert once == 101  # each row once, and one to learn the type
    assert max(asked) <= 20


def test_images_covered_in_full_are_still_picked_in_order():
    similarity = torch.ones(5, 5)
    assert facility_location(lambda index: similarity[index], 5, 5).tolist() == [0, 1, 2, 3, 4]


def test_greedy_beats_chance():
    found = vectors(200)
    similarity = similarity_of(found)
    draw = torch.Generator().manual_seed(0)

    def covered(index):
        return float(similarity[:, index].amax(1).sum())

    greedy = covered(facility_location(lambda i: similarity[i], 200, 8))
    assert all(greedy > covered(torch.randperm(200, generator=draw)[:8]) for _ in range(20))


def discrepancy(similarity, index):
    """Squared maximum mean discrepancy between some images and all."""
    between, within = similarity[:, index].mean(), similarity[index][:, index].mean()
    return float(similarity.mean() - 2 * between + within)


def test_balanced_graph_cut_takes_what_brings_the_picks_nearest_to_all():
    found = vectors(60)
    similarity = similarity_of(found)
    picked = graph_cut(found, 10).tolist()
    for size, best in enumerate(picked):
        apart = {
            i: discrepancy(similarity, [*picked[:size], i])
            for i in range(60)
            if i not in picked[:size]
        }
        assert apart[best] == pytest.approx(min(apart.values()), abs=1e-12)


def test_redundancy_one_stays_near_the_centre_where_balance_spreads():
    """The picks are few beside all: similarity to these decides almost alone."""
    found = vectors(400)
    similarity = similarity_of(found)
    central = set(similarity.sum(0).topk(20).indices.tolist())
    one, balanced = graph_cut(found, 20, 1.0), graph_cut(found, 20)
    assert len(central & set(one.tolist())) > 10
    assert len(central & set(balanced.tolist())) < 5
    assert discrepancy(similarity, balanced) < discrepancy(similarity, one) / 50


def test_matching_pursuit_comes_near_the_mean():
    found = vectors(300)
    found = OuterProducts(found.left + 1, found.right.abs())
    full = written_out(found)

    def gap(index):
        own = full[index].T
        return float((own @ torch.linalg.lstsq(own, full.mean(0)).solution - full.mean(0)).norm())

    draw = torch.Generator().manual_seed(0)
    random = [gap(torch.randperm(300, generator=draw)[:5]) for _ in range(50)]
    assert gap(matching_pursuit(found, 5)) < sum(random) / 50


def select_by_validation(found, count):
    validation = Validation(normal(2, 3), torch.tensor([0, 2]), normal(2, 3, seed=1))
    return validation_gain(found, validation, count, 0.1)


@pytest.mark.parametrize("count", [0, -1, 6])
@pytest.mark.parametrize(
    "select",
    [
        lambda found, count: facility_location(lambda index: similarity_of(found)[index], 5, count),
        graph_cut,
        matching_pursuit,
        select_by_validation,
    ],
)
def test_counts_that_cannot_be(select, count):
    with pytest.raises(InvalidInput, match=f"cannot pick {count} of 5"):
        select(vectors(5), count)
