import numpy as np
import pytest
import torch
from PIL import Image

import dcpi_core as dcpi
from dcpi_core import datasets
from dcpi_core.datasets.base import Split
from dcpi_core.spec.dataset import License
from dcpi_core.spec.errors import DatasetUnavailable, InvalidInput


class Indexed:
    """A dataset as torch knows it: a length and indices, and no end of its own."""

    def __init__(self, pairs, classes=None):
        self.pairs = pairs
        if classes:
            self.classes = classes

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        return self.pairs[index % len(self.pairs)]


def pixels(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def labelled(images, labels=(0, 1)):
    return [(image, labels[number % len(labels)]) for number, image in enumerate(images)]


COLOUR = pixels(6, 5, 4, 3)  # (H, W, C)
KINDS = {
    "PIL": [Image.fromarray(image) for image in COLOUR],
    "arrays": list(COLOUR),
    "bytes": [torch.from_numpy(image).permute(2, 0, 1) for image in COLOUR],
    "ToTensor": [torch.from_numpy(image).permute(2, 0, 1) / 255 for image in COLOUR],
}


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_every_kind_become_the_same_bytes(kind):
    pairs = labelled(KINDS[kind])
    made = datasets.from_samples("mine", pairs, pairs[:2])
    assert torch.equal(made.train.images, torch.from_numpy(COLOUR).permute(0, 3, 1, 2))
    assert made.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert torch.equal(made.test.images, made.train.images[:2])


def test_facts_are_measured():
    mine = License(name="CC0", redistributable="yes")
    facts = datasets.from_samples(
        "mine", labelled(COLOUR, (0, 0, 1)), labelled(COLOUR[:2]), classes="ab", license=mine
    ).facts
    assert (facts.name, facts.classes, facts.train_per_class) == ("mine", ("a", "b"), (4, 2))
    assert (facts.num_test, facts.channels, facts.height, facts.width) == (2, 3, 5, 4)
    np.testing.assert_allclose(facts.mean, (COLOUR / 255).mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(facts.std, (COLOUR / 255).std((0, 1, 2)), atol=1e-6)
    assert facts.license == mine
    assert len(facts.fingerprint) == 64


def test_a_set_with_length_and_indices_is_read_to_its_length_and_names_its_classes():
    train = Indexed(labelled(COLOUR), classes=["cat", "dog"])
    made = datasets.from_samples("mine", train, Indexed(labelled(COLOUR[:2])))
    assert (len(made.train), len(made.test)) == (6, 2)
    assert made.facts.classes == ("cat", "dog")


def test_labels_mean_the_same_in_both_splits():
    train = Indexed(labelled(COLOUR, (0, 1, 2)), classes=["cat", "dog", "fox"])
    test = Indexed(labelled(COLOUR), classes=["cat", "fox"])
    with pytest.raises(InvalidInput, match=r"label 1 is 'dog' by train.classes and 'fox' by test"):
        datasets.from_samples("mine", train, test)
    test = Indexed(train.pairs, classes=("cat", "dog", "fox"))
    assert datasets.from_samples("mine", train, test).facts.classes == ("cat", "dog", "fox")
    named = datasets.from_samples("mine", train, test, classes=["Katze", "Hund", "Fuchs"])
    assert named.facts.classes == ("Katze", "Hund", "Fuchs")


def test_labels_count_from_zero():
    """As the letters of EMNIST, which begin at 1 and have a class that is not there."""
    names = ["N/A", "a", "b"]
    letters = Indexed(labelled(COLOUR, (1, 2)), classes=names)
    with pytest.raises(InvalidInput, match=r"train has no .*: \['N/A'\].*target_transform"):
        datasets.from_samples("letters", letters, letters)
    moved = Indexed(labelled(COLOUR, (0, 1)), classes=names)
    made = datasets.from_samples("letters", moved, moved, classes=names[1:])
    assert (made.facts.classes, made.facts.train_per_class) == (("a", "b"), (3, 3))


def test_pairs_may_come_one_by_one():
    made = datasets.from_samples("mine", iter(labelled(COLOUR)), iter(labelled(COLOUR[:2])))
    assert (len(made.train), made.facts.classes) == (6, ("0", "1"))


def test_grey_images_have_one_channel_until_one_has_colours():
    grey = pixels(4, 5, 4)
    alone = datasets.from_samples("mine", labelled(grey), labelled(grey[..., None]))
    assert torch.equal(alone.train.images, torch.from_numpy(grey)[:, None])
    assert torch.equal(alone.test.images, alone.train.images)
    beside = datasets.from_samples("mine", labelled(grey), labelled(COLOUR[:2]))
    assert torch.equal(beside.train.images, torch.from_numpy(grey)[:, None].expand(-1, 3, -1, -1))


def test_images_of_several_sizes_need_a_size():
    several = labelled([COLOUR[0], pixels(1, 9, 12, 3)[0]])
    with pytest.raises(InvalidInput, match="train image 1 is 12 x 9 pixels, the first is 4 x 5"):
        datasets.from_samples("mine", several, several)
    made = datasets.from_samples("mine", several, several, image_size=8)
    assert tuple(made.train.images.shape) == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("cat.png", "str is no PIL image"),
        (COLOUR[0].astype(np.float32), "array of float32"),
        (torch.zeros(3, 5, 4, dtype=torch.int64), "array of int64"),
        (torch.full((3, 5, 4), 1.5), "before normalisation"),
        (torch.full((3, 5, 4), torch.nan), "before normalisation"),
        (np.zeros((5, 4, 2), np.uint8), r"\(5, 4, 2\)"),
        (torch.zeros(2, 3, 5, 4), "shape"),
    ],
)
def test_what_is_no_image_is_named(image, reason):
    pairs = labelled([COLOUR[0], image])
    with pytest.raises(InvalidInput, match=f"train sample 1 is no image and its label: .*{reason}"):
        datasets.from_samples("mine", pairs, labelled(COLOUR))


@pytest.mark.parametrize("sample", [(COLOUR[0], 1.0), (COLOUR[0], "cat"), (COLOUR[0],), COLOUR[0]])
def test_what_is_no_label_is_named(sample):
    with pytest.raises(InvalidInput, match="test sample 0 is no image and its label"):
        datasets.from_samples("mine", labelled(COLOUR), [sample])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"classes": ["a", "b"], "train": labelled(COLOUR, (0, 2))}, "labels outside 0 .. 1"),
        ({"test": labelled(COLOUR, (0, 2))}, "test labels outside 0 .. 1"),
        ({"train": labelled(COLOUR, (0,))}, "classes"),
        (
            {"train": labelled(COLOUR, (1, 3))},
            r"train has no images of these classes: \['0', '2'\]",
        ),
        ({"train": labelled(COLOUR, (0, 1, 2))}, r"test has no images of these classes: \['2'\]"),
        ({"name": "my own"}, "name"),
        ({"train": []}, "train has no images"),
        ({"test": iter(())}, "test has no images"),
    ],
)
def test_what_makes_no_dataset_is_refused(change, reason):
    given = {"name": "mine", "train": labelled(COLOUR), "test": labelled(COLOUR)} | change
    with pytest.raises(InvalidInput, match=reason):
        datasets.from_samples(**given)


def test_tensors_are_taken_as_they_are():
    images = torch.from_numpy(COLOUR).permute(0, 3, 1, 2).contiguous()
    split = Split(images, torch.tensor([0, 1, 0, 1, 0, 1]))
    made = datasets.from_splits("mine", split, split)
    assert made.train is split
    assert made.facts == datasets.from_samples("mine", labelled(COLOUR), labelled(COLOUR)).facts


def test_a_job_runs_on_a_dataset_in_memory(tmp_path):
    train, test = (labelled(pixels(12, 8, 8, 3, seed=seed)) for seed in (0, 1))
    mine = datasets.from_samples("mine", train, test)
    request = dcpi.JobRequest.model_validate(
        {
            "dataset": "mine",
            "images_per_class": 2,
            "base_method": "random",
            "pi_type": "none",
            "options": {"network": "MLP", "evaluation": {"repeats": 1, "epochs": 1}},
        }
    )
    spec = dcpi.resolve(request, mine.facts)
    there = {"workspace": f"{tmp_path}/job", "assets": f"{tmp_path}/assets"}
    place = dcpi.Workplace(**there, source=mine)
    bundle = dcpi.load(dcpi.condense(spec, place))
    chosen = bundle.condensed.images
    originals = mine.normalise(mine.train.images)
    assert all(any(torch.equal(image, known) for known in originals) for image in chosen)
    other = datasets.from_samples("mine", test, train)
    place = dcpi.Workplace(workspace=tmp_path / "other", assets=tmp_path / "assets", source=other)
    with pytest.raises(DatasetUnavailable, match="fingerprint"):
        dcpi.condense(spec, place)
