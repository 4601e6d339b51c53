"""The report of a choice, on classes whose neighbours one can see."""

from dataclasses import replace

import pytest
import torch

from dcpi_core.condensed import CondensedSet
from dcpi_core.datasets.base import Split
from dcpi_core.evaluation.selection import describe_selection, neighbour_images, notes_on
from dcpi_core.real_training import TrainingPlan
from tests.core.problems import CLASSES, blobs, context


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """Uniform images: in each class 0, 10, 20, ... 190 of 255, so that pixels are a line."""
    source = blobs(per_class=20, channels=1)
    values = (torch.arange(60) % 20 * 10).to(torch.uint8)
    train = Split(values.view(60, 1, 1, 1).expand(60, 1, 8, 8).contiguous(), source.train.labels)
    return replace(context(source, tmp_path_factory.mktemp("assets")), train=train)


def chosen(ctx, *index):
    where = torch.tensor(index)
    return CondensedSet(ctx.normalised(where), ctx.train.labels[where], source_indices=where)


STEP = 10 / 255 / 0.25 * 8  # distance of two neighbours: 64 pixels, standard deviation a quarter


def test_images_are_found_in_the_source_with_their_neighbours(grey):
    found = describe_selection(chosen(grey, 3, 15, 20, 45), [], grey)
    assert found.space == "pixels"
    assert found.source_indices == (3, 15, 20, 45)
    assert found.stands_for == (10, 10, 20, 20)  # the middle of 3 and 15 goes to the first
    assert found.neighbours[2] == 21
    assert found.neighbour_distances == pytest.approx([STEP] * 4, rel=1e-4)


def test_distances_are_from_every_image_to_the_nearest_chosen_one(grey):
    found = describe_selection(chosen(grey, 0, 20, 59), [], grey).distances
    assert found.mean == pytest.approx(9.5 * STEP, rel=1e-4)
    assert found.largest == pytest.approx(19 * STEP, rel=1e-4)


def test_a_spread_out_choice_covers_better_than_random_ones_and_a_heap_worse(grey):
    spread = [at + 20 * label for label in range(CLASSES) for at in (2, 7, 12, 17)]
    heap = [at + 20 * label for label in range(CLASSES) for at in (0, 1, 2, 3)]
    found = [describe_selection(chosen(grey, *index), [], grey) for index in (spread, heap)]
    assert found[0].random_distances == found[1].random_distances
    assert found[0].distances.mean < found[0].random_distances.mean < found[1].distances.mean
    assert found[0].distances.largest < found[1].random_distances.largest


def test_a_whole_class_has_no_unchosen_neighbour(grey):
    found = describe_selection(chosen(grey, *range(21), 40), [], grey)
    assert found.neighbours[:20] == (None,) * 20
    assert found.neighbours[20:] == (21, 41)
    assert neighbour_images(found, chosen(grey, *range(21), 40), grey) is None


def test_classes_without_images_are_named(grey):
    found = describe_selection(chosen(grey, 5, 25, 30), [], grey)
    assert found.empty_classes == (2,)
    assert "without an image: blue" in notes_on(found, grey.facts.classes)[0]
    assert notes_on(describe_selection(chosen(grey, 5, 25, 45), [], grey), ()) == []


def test_pictures_of_the_neighbours_stand_in_the_order_of_the_images(grey):
    mine = chosen(grey, 0, 39, 40)
    found = describe_selection(mine, [], grey)
    images = neighbour_images(found, mine, grey)
    assert torch.equal(images, grey.normalised(torch.tensor([1, 38, 41])))


def test_a_proxy_is_what_a_rule_with_a_proxy_is_measured_by(tmp_path):
    ctx = context(blobs(), tmp_path, network="MLP")
    plan = TrainingPlan(network="MLP", epochs=1)
    found = describe_selection(chosen(ctx, 0, 20, 40), [plan], ctx)
    assert found.space == "features of MLP"
    features = ctx.signals(plan).features.float()
    apart = torch.cdist(features[:20], features[:1]).mean()
    apart += torch.cdist(features[20:40], features[20:21]).mean()
    apart += torch.cdist(features[40:], features[40:41]).mean()
    assert found.distances.mean == pytest.approx(float(apart) / 3, rel=1e-3)


def test_made_images_were_not_chosen(grey):
    made = CondensedSet(torch.zeros(3, 1, 8, 8), torch.arange(3))
    assert describe_selection(made, [], grey) is None
