import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcpi_core import datasets
from dcpi_core.datasets.base import ImageDataset, Split, denormalise, fingerprint, normalise


def split(labels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (len(labels), 3, 2, 3), generator=generator, dtype=torch.uint8)
    return Split(images, torch.tensor(labels, dtype=torch.int64))


@given(st.lists(st.integers(0, 5), max_size=40))
def test_of_class_partitions_the_split(labels):
    part = split(labels)
    for label in range(7):
        indices = part.of_class(label)
        assert indices.dtype == torch.int64
        assert indices.tolist() == [i for i, known in enumerate(labels) if known == label]
    assert sum(part.count_per_class(6)) == len(part)


def test_of_class_is_computed_once():
    part = split([0, 1, 0])
    assert part.of_class(0) is part.of_class(0)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (torch.zeros(2, 3, 2, 3), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 3, 2, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 3, 2, 3, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(2, 3, 2, 3, dtype=torch.uint8), torch.zeros(2)),
    ],
)
def test_wrong_tensors_are_refused(images, labels):
    with pytest.raises(ValueError, match="must be"):
        Split(images, labels)


def test_normalise_is_the_formula(facts):
    images = split([0, 1]).images
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (facts.mean, facts.std))
    torch.testing.assert_close(normalise(images, facts), (images / 255 - mean) / std)


def test_denormalise_inverts_every_byte(facts):
    images = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1).expand(256, 3, 2, 3)
    back = denormalise(normalise(images, facts), facts)
    assert torch.equal((back * 255).round().to(torch.uint8), images)


def test_denormalise_clamps_and_leaves_its_input(facts):
    images = torch.full((1, 3, 2, 3), 9.0)
    assert torch.equal(denormalise(images, facts), torch.ones(1, 3, 2, 3))
    assert torch.equal(denormalise(-images, facts), torch.zeros(1, 3, 2, 3))
    assert (images == 9).all()


def test_normalise_refuses_floats(facts):
    with pytest.raises(ValueError, match="uint8"):
        normalise(torch.zeros(1, 3, 2, 3), facts)


def test_dataset_fills_in_its_fingerprint(facts):
    train, test = split([0, 1, 0]), split([1, 1], seed=1)
    dataset = ImageDataset(facts, train, test)
    assert dataset.facts.fingerprint == fingerprint(train, test)
    assert len(dataset.facts.fingerprint) == 64
    assert torch.equal(dataset.normalise(train.images), normalise(train.images, facts))
    assert torch.equal(
        dataset.denormalise(torch.zeros(3, 2, 3)), denormalise(torch.zeros(3, 2, 3), facts)
    )


def test_facts_of_a_dataset_do_for_the_same_images_only(facts):
    train, test = split([0, 1, 0]), split([1, 1], seed=1)
    known = ImageDataset(facts, train, test).facts
    assert ImageDataset(known, train, test).facts == known
    inverted = Split(255 - train.images, train.labels)
    with pytest.raises(ValueError, match=r"toy: the facts are those of other images.*from_splits"):
        ImageDataset(known, inverted, test)
    emptied = known.model_copy(update={"fingerprint": ""})
    assert ImageDataset(emptied, inverted, test).facts.fingerprint == fingerprint(inverted, test)


def test_fingerprint_sees_pixels_labels_and_splits():
    train, test = split([0, 1, 0]), split([1, 1, 0], seed=1)
    changed = Split(train.images.clone(), train.labels)
    changed.images[0, 0, 0, 0] += 1
    relabelled = Split(train.images, torch.tensor([0, 1, 1]))
    variants = [(train, test), (test, train), (changed, test), (relabelled, test), (train, train)]
    assert len({fingerprint(*variant) for variant in variants}) == len(variants)
    assert fingerprint(train, test) == fingerprint(split([0, 1, 0]), split([1, 1, 0], seed=1))


def test_fingerprint_ignores_memory_layout():
    part = split([0, 1])
    strided = Split(part.images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), part.labels)
    assert not strided.images.is_contiguous()
    assert fingerprint(part, part) == fingerprint(strided, strided)


@pytest.mark.parametrize(
    ("train", "test"),
    [([0, 1, 1], [1, 1]), ([0, 1, 0], [1]), ([0, 1, 2], [1, 1]), ([0, 1, 0], [-1, 1])],
)
def test_facts_must_describe_the_images(facts, train, test):
    with pytest.raises(ValueError, match="toy"):
        ImageDataset(facts, split(train), split(test))


def test_facts_must_describe_the_shape(facts):
    with pytest.raises(ValueError, match="the facts say"):
        ImageDataset(facts.model_copy(update={"width": 4}), split([0, 1, 0]), split([1, 1]))


def test_every_public_name_exists():
    assert all(getattr(datasets, name) for name in datasets.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = datasets.nothing


def test_archive_package_needs_no_torch(root):
    probe = (
        "import sys, dcpi_core.datasets.archive.__main__, dcpi_core.datasets.published;"
        "print(sorted({'torch', 'torchvision', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
