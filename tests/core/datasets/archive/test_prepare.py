import itertools
import random
import tarfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dcpi_core.datasets import load_prepared
from dcpi_core.datasets.archive import Limits, inspect_archive
from dcpi_core.datasets.archive.layout import Preparation, _split_off_test
from dcpi_core.datasets.archive.members import members
from dcpi_core.datasets.archive.refusal import MOST_PROBLEMS
from dcpi_core.spec.errors import ArchiveError, InvalidInput

KINDS = ["zip", "tar", "tar.gz", "tar.xz", "tar.bz2"]


# ---- what is accepted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrapping", ["", "pets/", "./"])
def test_given_splits(make, inspect, tmp_path, kind, wrapping):
    files = {f"{wrapping}{name}": data for name, data in make.folders(count=3).items()}
    facts = inspect(files, kind)
    assert (facts.name, facts.classes, facts.train_per_class) == ("pets", ("cat", "dog"), (3, 3))
    assert (facts.num_test, facts.channels, facts.height, facts.width) == (6, 3, 8, 8)
    assert facts.license.redistributable == "unclear"
    dataset = load_prepared(tmp_path / "out")
    assert dataset.facts == facts
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    for index, seed in enumerate(range(6)):  # class_folders numbers its images in name order
        expected = make.pixels(seed).transpose(2, 0, 1)
        np.testing.assert_array_equal(dataset.train.images[index].numpy(), expected)


def test_all_kinds_give_the_same_file(make, inspect, tmp_path):
    written = set()
    for kind in KINDS:
        inspect(make.folders(), kind)
        written.add((tmp_path / "out").read_bytes())
    assert len(written) == 1


def test_order_in_the_archive_does_not_matter(make, inspect, tmp_path):
    files = list(make.folders(splits=("",), count=4).items())
    fingerprints = set()
    for seed in range(4):
        random.Random(seed).shuffle(files)
        fingerprints.add(inspect(files, "tar").fingerprint)
    assert len(fingerprints) == 1


def test_mean_and_std_are_of_the_training_images(make, inspect, tmp_path):
    facts = inspect(make.folders())
    scaled = load_prepared(tmp_path / "out").train.images.double() / 255
    np.testing.assert_allclose(facts.mean, scaled.mean((0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(facts.std, scaled.std((0, 2, 3), correction=0), atol=1e-6)


def test_grey_images_make_one_channel(make, inspect):
    assert inspect(make.folders(channels=1)).channels == 1


def test_one_colour_image_makes_three_channels(make, inspect):
    files = make.folders(channels=1) | {"train/dog/9.png": make.encode(make.pixels(9))}
    assert inspect(files).channels == 3


def test_oblong_images(make, inspect):
    facts = inspect(make.folders(height=6, width=10))
    assert (facts.height, facts.width) == (6, 10)


def test_sizes_are_made_equal_on_request(make, inspect, tmp_path):
    files = make.folders() | {"train/dog/9.png": make.encode(make.pixels(9, 20, 30))}
    facts = inspect(files, image_size=16)
    assert (facts.height, facts.width) == (16, 16)
    assert load_prepared(tmp_path / "out").train.images.shape == (7, 3, 16, 16)


def test_leftovers_and_notes_are_passed_over(make, inspect):
    others = {
        "__MACOSX/pets/train/cat/._0.png": b"junk",
        "pets/.DS_Store": b"junk",
        "pets/train/cat/Thumbs.db": b"junk",
        "pets/train/cat/._0.png": b"junk",
        "pets/README": b"hello",
        "pets/notes.txt": b"hello",
        "LICENSE": b"hello",
    }
    files = {f"pets/{name}": data for name, data in make.folders().items()}
    assert inspect(files | others).num_train == 6


def test_folder_entries_are_welcome(make, inspect, tmp_path):
    folders = [
        make.tar_entry(name, type=tarfile.DIRTYPE)
        for name in ("./", "train", "train/cat", "train/dog", "test", "test/cat", "test/dog")
    ]
    path = make.tar(tmp_path / "t", [*folders, *make.folders().items()])
    assert inspect(path).num_train == 6


def test_class_names_in_any_script(make, inspect):
    assert inspect(make.folders(classes=("Škoda", "猫"))).classes == ("Škoda", "猫")


def test_progress_reaches_the_total(make, inspect):
    calls = []
    inspect(make.folders(), progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (12, 12)


# ---- the split by seed


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(2, 30), min_size=2, max_size=4),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
def test_every_class_is_split(counts, fraction, seed):
    train, test = split_of(counts, seed, fraction)
    for label, count in enumerate(counts):
        held_out = len(test[label])
        assert 1 <= held_out <= count - 1
        assert abs(held_out - count * fraction) <= 1
        assert len(train[label]) == count - held_out
        assert not train[label] & test[label]


def test_seed_decides_the_split():
    counts = [20, 20]
    assert split_of(counts, 1) == split_of(counts, 1)
    assert split_of(counts, 1) != split_of(counts, 2)


def test_a_new_class_does_not_disturb_the_others():
    assert split_of([20, 20], 1)[1] == split_of([20, 20, 9], 1)[1][:2]


def split_of(counts, seed, fraction=0.2):
    """Train and test names per class, from the rule itself."""
    classes = {f"c{i}": [f"c{i}/{k}.png" for k in range(n)] for i, n in enumerate(counts)}
    splits = _split_off_test(classes, Preparation(seed=seed, test_fraction=fraction))
    return tuple(
        [set(splits[split][name]) for name in sorted(classes)] for split in ("train", "test")
    )


@pytest.mark.parametrize("wrapping", ["", "pets/"])
def test_split_end_to_end(make, inspect, tmp_path, wrapping):
    files = make.folders(splits=(wrapping,), count=10)
    prints = []
    for seed in (0, 0, 1):
        facts = inspect(files, seed=seed)
        assert (facts.train_per_class, facts.num_test) == ((8, 8), 4)
        prints.append(facts.fingerprint)
    assert prints[0] == prints[1] != prints[2]
    dataset = load_prepared(tmp_path / "out")
    both = torch.cat([dataset.train.images, dataset.test.images])
    assert len(both.flatten(1).unique(dim=0)) == 20, "every image once"
    assert inspect(files, test_fraction=0.5).num_test == 10


# ---- what is refused


@pytest.mark.parametrize("kind", KINDS)
class TestRefusedInEveryKind:
    def test_empty(self, refused, kind):
        assert "no images; expected train/<class>" in refused({}, kind)

    def test_broken_image_among_good_ones(self, make, refused, kind):
        files = make.folders() | {"train/cat/bad.png": b"\x89PNG\r\n\x1a\nnonsense"}
        assert "'train/cat/bad.png' cannot be decoded" in refused(files, kind)

    def test_truncated_image_among_good_ones(self, make, refused, kind):
        whole = make.encode(make.pixels(9, 32, 32))
        files = make.folders(height=32, width=32) | {"train/cat/cut.png": whole[:-500]}
        assert "'train/cat/cut.png' cannot be decoded" in refused(files, kind)

    def test_one_class(self, make, refused, kind):
        assert "only class is 'cat'" in refused(make.folders(classes=("cat",)), kind)

    def test_climbing_name(self, make, refused, kind):
        files = make.folders() | {"train/cat/../../../x.png": b""}
        assert "'train/cat/../../../x.png' climbs out" in refused(files, kind)


@pytest.mark.parametrize(
    ("remove", "words"),
    [
        ("train/cat", "class 'cat' has images in test/ but none in train/"),
        ("test/dog", "class 'dog' has images in train/ but none in test/"),
        ("test", "the folders that hold class folders are 'train'"),
        ("train", "the folders that hold class folders are 'test'"),
    ],
)
def test_missing_folders(make, refused, remove, words):
    files = {n: d for n, d in make.folders().items() if not n.startswith(remove + "/")}
    assert words in refused(files)


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        (("train/", "val/"), "are 'train', 'val'; expected"),
        (("train/", "test/", "val/"), "are 'test', 'train', 'val'"),
        (("train/x/", "test/x/"), "does not lie where an image can"),
        (("a/b/train/", "a/b/test/"), "does not lie where an image can"),
        (("train/", "test/x/"), "lie at different depths"),
    ],
)
def test_other_layouts(make, refused, splits, words):
    assert words in refused(make.folders(splits=splits))


def test_images_without_class_folders(make, refused):
    image = make.encode(make.pixels(0))
    assert "does not lie where" in refused({"1.png": image, "2.png": image})
    for top in ("", "pets/"):
        files = {f"{top}train/1.png": image, f"{top}test/1.png": image}
        assert "lie directly in test and train" in refused(files)


def test_class_with_a_single_image(make, refused):
    files = make.folders(splits=("",)) | {"owl/1.png": make.encode(make.pixels(0))}
    assert "class 'owl' has a single image" in refused(files)


def test_empty_class_folder(make, refused, tmp_path):
    owl = make.tar_entry("train/owl", type=tarfile.DIRTYPE)
    path = make.tar(tmp_path / "t", [owl, *make.folders().items()])
    assert "class folder 'train/owl' holds no images" in refused(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("again", ["train/cat/0.png", "./train//cat/0.png"])
def test_duplicate_names(make, refused, kind, again):
    files = [*make.folders().items(), (again, make.encode(make.pixels(99)))]
    assert "'train/cat/0.png' comes twice" in refused(files, kind)


@pytest.mark.parametrize(
    "name", ["train/cat/1.svg", "train/cat/labels.csv", "run.py", "train/cat/x", "inner.zip"]
)
def test_other_files(make, refused, name):
    assert f"{name!r} is not an image; allowed are .png" in refused(make.folders() | {name: b"x"})


def test_notes_inside_class_folders(make, refused):
    words = "'train/cat/notes.txt' is not an image; text files are allowed at the top only"
    assert words in refused(make.folders() | {"train/cat/notes.txt": b"x"})


def test_differing_sizes(make, refused):
    files = make.folders() | {"train/dog/9.png": make.encode(make.pixels(9, 20, 30))}
    detail = refused(files)
    assert "8 x 8 (12, such as 'train/cat/0.png'), 30 x 20 (1, such as 'train/dog/9.png')" in detail
    assert "give image_size" in detail


def test_many_differing_sizes_are_summed_up(make, refused):
    files = {
        f"{s}/{c}/{n}.png": make.encode(make.pixels(0, 8 + n, 8))
        for s, c, n in itertools.product(("train", "test"), "ab", range(8))
    }
    assert "and 3 more" in refused(files)


def test_limits(make, refused):
    files = make.folders()
    assert "at most 1 are allowed" in refused(files, limits=Limits(classes=1))
    assert "8 x 8 pixels; at most 60" in refused(files, limits=Limits(pixels=60))
    detail = refused(files, limits=Limits(decoded_bytes=1000))
    assert "take 2304 bytes, more than the 1000 allowed" in detail


def test_the_names_of_all_classes_are_limited(make, inspect, refused):
    """They go into every job on the dataset, three times, and into every page of jobs."""
    files = make.folders(classes=("cat", "Škoda"))
    detail = refused(files, limits=Limits(class_name_bytes=8))
    assert "names of the 2 classes take 9 bytes, that of class 'Škoda' the most" in detail
    assert "at most 8 bytes are allowed" in detail
    assert len(inspect(files, limits=Limits(class_name_bytes=9)).classes) == 2
    assert 22_000 * len("Canis familiaris, domestic dog") < Limits().class_name_bytes < 1 << 21


def test_all_broken_images_are_named(make, inspect):
    broken = {f"train/cat/bad{n}.png": b"no image" for n in range(3)}
    with pytest.raises(ArchiveError, match="and 2 more such problems") as caught:
        inspect(make.folders() | broken)
    assert [problem.message.split("'")[1] for problem in caught.value.problems] == list(broken)


def test_not_endlessly_many_problems_are_listed(make, inspect):
    broken = {f"train/cat/bad{n}.png": b"no image" for n in range(50)}
    with pytest.raises(ArchiveError, match="at least 19 more") as caught:
        inspect(make.folders() | broken)
    assert len(caught.value.problems) == MOST_PROBLEMS


@pytest.mark.parametrize(
    ("settings_", "pointer"),
    [
        ({"seed": -1}, "/seed"),
        ({"image_size": 7}, "/image_size"),
        ({"image_size": 2000}, "/image_size"),
        ({"test_fraction": 0.0}, "/test_fraction"),
        ({"test_fraction": 1.0}, "/test_fraction"),
    ],
)
def test_settings_out_of_range(inspect, settings_, pointer):
    with pytest.raises(InvalidInput) as caught:
        inspect({}, **settings_)
    assert [problem.pointer for problem in caught.value.problems] == [pointer]


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 65])
def test_bad_dataset_names(tmp_path, name):
    with pytest.raises(InvalidInput) as caught:
        inspect_archive(tmp_path / "none", name, tmp_path / "out")
    assert [problem.pointer for problem in caught.value.problems] == ["/name"]


def test_a_refused_archive_leaves_the_old_file(make, inspect, tmp_path):
    inspect(make.folders())
    before = (tmp_path / "out").read_bytes()
    with pytest.raises(ArchiveError):
        inspect(make.folders() | {"train/cat/bad.png": make.encode(make.pixels(0))[:-30]})
    assert (tmp_path / "out").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "upload"]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_damage_never_escapes(make, tmp_path, kind):
    """An archive with a few changed bytes is either read or refused, nothing else."""
    path = tmp_path / "upload"
    whole = make.archive(path, kind, make.folders(count=2)).read_bytes()
    rng = random.Random(0)
    refusals = 0
    for _ in range(80):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])])
        try:
            inspect_archive(path, "pets", tmp_path / "out")
        except ArchiveError:
            refusals += 1
    assert refusals > 40


@pytest.fixture
def cifar10(shared_data):
    """A real archive of 60,000 JPEGs."""
    if shared_data is None:
        pytest.skip("no ../shared/data beside the repository: cifar10-jpeg.tar.xz is not read")
    return shared_data / "cifar10-jpeg.tar.xz"


def test_two_classes_of_a_real_archive(cifar10, inspect):
    files = {}
    for number, member in enumerate(itertools.islice(members(cifar10, Limits()), 6000)):
        if member.data is not None and number % 10 == 0:
            files["/".join(member.parts[-2:])] = member.data
    facts = inspect(files)
    assert len(facts.classes) == 2
    assert facts.num_train + facts.num_test == len(files)
    assert (facts.channels, facts.height, facts.width) == (3, 32, 32)


def test_a_whole_real_archive(cifar10, tmp_path):
    out = tmp_path / "cifar10.safetensors"
    facts = inspect_archive(cifar10, "cifar10-jpeg", out)
    assert facts.train_per_class == (5000,) * 10
    assert (facts.num_test, facts.channels, facts.height, facts.width) == (10000, 3, 32, 32)
    assert facts.classes[:2] == ("airplane", "automobile")
    np.testing.assert_allclose(facts.mean, (0.4914, 0.4822, 0.4465), atol=5e-4)
    assert load_prepared(out).facts == facts
