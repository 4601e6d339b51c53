"""A student is measured once, and never taken for another."""

from dataclasses import replace

import pytest
import torch

from dcpi_core.compute import Runtime
from dcpi_core.condensed import CondensedSet
from dcpi_core.evaluation.measure import Trial, measure
from dcpi_core.evaluation.remembered import Measurements, key_of
from dcpi_core.privileged.soft import SoftLabels
from dcpi_core.training import Recipe
from tests.core.problems import blobs

TRIAL = Trial("ConvNetD2", Recipe(epochs=1), seed=0)


@pytest.fixture
def condensed():
    images = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return CondensedSet(images, torch.arange(3).repeat_interleave(2))


def test_what_is_kept_is_found_as_it_was(tmp_path, source, condensed):
    known, key = Measurements(tmp_path), key_of(TRIAL, condensed, source, "cpu")
    assert known.find(key) is None
    found = measure(TRIAL, condensed, source, Runtime.choose("cpu", 1))
    known.keep(key, found)
    assert Measurements(tmp_path).find(key) == found


def test_a_damaged_file_is_as_good_as_none(tmp_path, source, condensed):
    known, key = Measurements(tmp_path), key_of(TRIAL, condensed, source, "cpu")
    known.keep(key, measure(TRIAL, condensed, source, Runtime.choose("cpu", 1)))
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(b"not a file of ours")
    assert known.find(key) is None


def nudged(condensed: CondensedSet) -> CondensedSet:
    images = condensed.images.clone()
    images[0, 0, 0, 0] += 1e-6
    return replace(condensed, images=images)


def with_soft_labels(condensed: CondensedSet) -> CondensedSet:
    return condensed.with_privileged(SoftLabels(torch.zeros(6, 3)))


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found | {"trial": replace(TRIAL, seed=1)},
        lambda found: found | {"trial": replace(TRIAL, network="ConvNetD1")},
        lambda found: found | {"trial": replace(TRIAL, recipe=Recipe(epochs=2))},
        lambda found: found | {"condensed": nudged(found["condensed"])},
        lambda found: found | {"condensed": with_soft_labels(found["condensed"])},
        lambda found: found | {"source": blobs(noise=0.8)},
        lambda found: found | {"device": "cuda"},
        lambda found: found | {"test_every": 1},
    ],
    ids=["seed", "network", "recipe", "images", "labels", "data", "device", "tests"],
)
def test_whatever_counts_changes_the_key(source, condensed, change):
    given = {"trial": TRIAL, "condensed": condensed, "source": source, "device": "cpu"}
    assert key_of(**change(given)) != key_of(**given)


def rescaled(source):
    return replace(source, facts=source.facts.model_copy(update={"std": (0.5, 0.25, 0.25)}))


@pytest.mark.parametrize("other", [lambda _: blobs(noise=0.8), rescaled], ids=["pixels", "scale"])
def test_all_images_of_a_source_are_known_by_what_it_is(source, condensed, other):
    own = key_of(TRIAL, None, source, "cpu")
    assert key_of(TRIAL, None, blobs(), "cpu") == own
    assert key_of(TRIAL, None, other(source), "cpu") != own
    assert key_of(TRIAL, condensed, source, "cpu") != own


def test_where_images_came_from_does_not_count(source, condensed):
    selected = replace(condensed, source_indices=torch.arange(6))
    keys = {key_of(TRIAL, each, source, "cpu") for each in (condensed, selected)}
    assert len(keys) == 1
