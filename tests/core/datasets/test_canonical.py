import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from dcpi_core.datasets import load_prepared
from dcpi_core.datasets.canonical import CanonicalWriter
from dcpi_core.datasets.moments import SMALLEST_STD
from dcpi_core.spec.dataset import DatasetFacts, License
from dcpi_core.spec.errors import DatasetUnavailable


def write(path, images, labels, classes=("a", "b")):
    """Write splits of images (N, C, H, W), last image first; returns the facts."""
    _, channels, height, width = images["train"].shape
    draft = DatasetFacts(
        name="toy",
        title="Toy",
        classes=classes,
        train_per_class=tuple(np.bincount(labels["train"], minlength=len(classes)).tolist()),
        num_test=len(labels["test"]),
        channels=channels,
        height=height,
        width=width,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        license=License(name="none"),
    )
    with path.open("w+b") as file:
        writer = CanonicalWriter(file, draft, labels, {"seed": 5})
        for split in ("test", "train"):
            for index in reversed(range(len(images[split]))):
                writer.put(split, index, images[split][index])
        return writer.finish()


def toy(seed=0, train=5, test=2, shape=(3, 2, 3)):
    rng = np.random.default_rng(seed)
    counts = {"train": train, "test": test}
    images = {
        split: rng.integers(0, 256, (n, *shape), dtype=np.uint8) for split, n in counts.items()
    }
    labels = {split: np.sort(rng.integers(0, 2, n)) for split, n in counts.items()}
    return images, labels


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    train=st.integers(1, 9),
    test=st.integers(1, 5),
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(1, 6), st.integers(1, 6)),
)
def test_round_trip(tmp_path_factory, seed, train, test, shape):
    path = tmp_path_factory.mktemp("canonical") / "set.safetensors"
    images, labels = toy(seed, train, test, shape)
    facts = write(path, images, labels)
    dataset = load_prepared(path)
    assert dataset.facts == facts
    for split in ("train", "test"):
        part = getattr(dataset, split)
        np.testing.assert_array_equal(part.images.numpy(), images[split])
        np.testing.assert_array_equal(part.labels.numpy(), labels[split])
    scaled = images["train"] / 255
    np.testing.assert_allclose(facts.mean, scaled.mean(axis=(0, 2, 3)), atol=1e-6)
    std = np.maximum(scaled.std(axis=(0, 2, 3)), SMALLEST_STD)
    np.testing.assert_allclose(facts.std, std, atol=1e-6)


def test_file_is_plain_safetensors_with_provenance(tmp_path):
    path = tmp_path / "set"
    facts = write(path, *toy())
    with safe_open(str(path), framework="numpy") as file:
        assert sorted(file.keys()) == ["test_images", "test_labels", "train_images", "train_labels"]
        metadata = file.metadata()
    assert metadata["format"] == "dcpi-dataset/1"
    assert DatasetFacts.model_validate_json(metadata["facts"]) == facts
    assert json.loads(metadata["preparation"]) == {"seed": 5}


def test_flat_images_can_be_normalised(tmp_path):
    images, labels = toy()
    images["train"][:] = 255
    write(tmp_path / "set", images, labels)
    dataset = load_prepared(tmp_path / "set")
    normal = dataset.normalise(dataset.train.images)
    assert torch.isfinite(normal).all()
    assert normal.abs().max() < 1e-3


def test_same_content_same_bytes(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / name, *toy(3))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_long_class_names_fit(tmp_path):
    classes = tuple(f"{'ü' * 100}{number}" for number in range(50))
    write(tmp_path / "set", *toy(), classes=classes)
    assert load_prepared(tmp_path / "set").facts.classes == classes


@pytest.mark.parametrize("where", [-1, -20])
def test_a_flipped_byte_is_noticed(tmp_path, where):
    path = tmp_path / "set"
    write(path, *toy())
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
    with pytest.raises(DatasetUnavailable, match="damaged"):
        load_prepared(path)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\x02" + b"\0" * 7 + b"{}"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "set"
    path.write_bytes(content)
    with pytest.raises(DatasetUnavailable, match="not a prepared dataset"):
        load_prepared(path)


def test_truncated_and_absent_files_are_refused(tmp_path):
    path = tmp_path / "set"
    write(path, *toy())
    path.write_bytes(path.read_bytes()[: -math.prod((3, 2, 3))])
    with pytest.raises(DatasetUnavailable, match="import the archive again"):
        load_prepared(path)
    with pytest.raises(DatasetUnavailable, match="does not exist"):
        load_prepared(tmp_path / "nothing")
