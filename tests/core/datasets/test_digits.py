import torch

from dcpi_core import datasets
from dcpi_core.datasets.digits import FACTS
from dcpi_core.registry import DATASETS
from dcpi_core.spec.dataset import DatasetFacts


def test_facts_are_those_of_the_data():
    dataset = datasets.load("digits")
    scaled = dataset.train.images.double() / 255
    assert round(scaled.mean().item(), 6) == FACTS.mean[0]
    assert round(scaled.std(correction=0).item(), 6) == FACTS.std[0]
    assert dataset.train.count_per_class(10) == FACTS.train_per_class
    assert len(dataset.train) + len(dataset.test) == 1797
    assert dataset.train.images.shape[1:] == (1, 8, 8)


def test_test_set_is_a_fifth_of_every_class():
    dataset = datasets.load("digits")
    both = zip(dataset.train.count_per_class(10), dataset.test.count_per_class(10), strict=True)
    assert all(test == (train + test) // 5 for train, test in both)


def test_every_grey_level_is_used():
    levels = datasets.load("digits").train.images.unique()
    assert (len(levels), levels.min(), levels.max()) == (17, 0, 255)


def test_reading_twice_gives_the_same():
    one, two = datasets.load("digits"), datasets.load("digits")
    assert one.facts == two.facts
    assert torch.equal(one.train.images, two.train.images)
    assert one.facts.fingerprint.startswith("6878b3d31b88173d")


def test_registered_facts_are_complete():
    registered = DATASETS.get("digits").facts
    assert "fingerprint" not in registered
    assert DatasetFacts.model_validate(registered) == FACTS
