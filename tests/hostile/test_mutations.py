"""Some hundred of the archives that ``python -m benchmarks.hostile`` reads by the ten thousand."""

from collections import Counter
from itertools import islice

import pytest

from tests.hostile.mutations import CHANGES, KINDS, mutants, pack, sound_files
from tests.hostile.outcome import ACCEPTED, FINDING, NAMED, outcome
from tests.hostile.reader import open_reader

COUNT = 200
MEMORY_MB = 300


def test_every_mutant_is_refused_in_words_or_sound(tmp_path):
    counts: Counter[str] = Counter()
    archive, work = tmp_path / "archive", tmp_path / "work"
    with open_reader() as reader:
        for number, mutant in enumerate(islice(mutants(seed=1), COUNT)):
            archive.write_bytes(mutant.data)
            found = reader.read(archive, work, "--max-seconds=20")
            word = outcome(found, work / "out", MEMORY_MB)
            assert word != FINDING, (number, mutant.kind, mutant.where, mutant.change, found)
            counts[word] += 1
    assert counts[NAMED] > COUNT / 3
    assert counts[ACCEPTED] > COUNT / 40, "changes that nothing depends on let the rest be reached"


def test_the_same_seed_gives_the_same_archives():
    first, second = (list(islice(mutants(seed=5), 20)) for _ in range(2))
    assert first == second
    assert first != list(islice(mutants(seed=6), 20))


def test_every_kind_and_every_change_comes_up():
    seen = list(islice(mutants(seed=0), 300))
    assert {mutant.kind for mutant in seen} == set(KINDS)
    assert {mutant.change for mutant in seen} == set(CHANGES)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_mutated_was_sound(kind, tmp_path):
    (tmp_path / "archive").write_bytes(pack(kind, sound_files()))
    with open_reader() as reader:
        found = reader.read(tmp_path / "archive", tmp_path / "work")
    assert found.accepted
    assert found.answer["facts"]["train_per_class"] == [4, 4]
