"""Checkpoints, workspaces and the cache of datasets."""

import os
import subprocess
import sys
import time

import pytest

from app.jobs.checkpoints import FILE, job_of, key_of
from dcpi_core.checkpoint import load_kept, save_tensors
from dcpi_core.spec.errors import NotFound
from tests.worker.waiting import until
from worker import places
from worker.checkpoints import Checkpoint
from worker.places import Places


@pytest.fixture
def home(tmp_path):
    return Places(tmp_path / "home")


def write(workspace, text: str) -> None:
    temporary = workspace / "temporary"
    temporary.write_text(text)
    temporary.replace(workspace / FILE)


def stored(tools) -> str:
    return b"".join(tools.storage.read(key_of("job_1"))).decode()


def test_a_checkpoint_is_stored_once_per_version(tools, tmp_path):
    checkpoint = Checkpoint(tools.storage, "job_1", tmp_path)
    assert not checkpoint.store(), "there is none yet"
    write(tmp_path, "one")
    assert checkpoint.store()
    assert not checkpoint.store()
    write(tmp_path, "two")
    assert checkpoint.store()
    assert stored(tools) == "two"


def test_a_checkpoint_comes_back(tools, tmp_path):
    write(tmp_path, "one")
    Checkpoint(tools.storage, "job_1", tmp_path).store()
    (other := tmp_path / "other").mkdir()
    checkpoint = Checkpoint(tools.storage, "job_1", other)
    assert checkpoint.fetch()
    assert (other / FILE).read_text() == "one"
    assert not checkpoint.store(), "what was fetched need not be stored"
    assert not Checkpoint(tools.storage, "job_2", other).fetch()


def test_checkpoints_are_stored_during_the_work(tools, tmp_path):
    with Checkpoint(tools.storage, "job_1", tmp_path, every_seconds=0.05):
        write(tmp_path, "one")
        until(lambda: tools.storage.exists(key_of("job_1")) and stored(tools) == "one")
        write(tmp_path, "two")
        until(lambda: stored(tools) == "two")


def test_an_upload_never_holds_half_a_file(tools, tmp_path, monkeypatch):
    """The runner replaces its file while the upload has begun: the old version arrives whole."""
    checkpoint = Checkpoint(tools.storage, "job_1", tmp_path)
    put = type(tools.storage).put_file

    def slowly(storage, key, path):
        write(tmp_path, "newer")
        put(storage, key, path)

    write(tmp_path, "older")
    monkeypatch.setattr(type(tools.storage), "put_file", slowly)
    checkpoint.store()
    assert stored(tools) == "older"
    monkeypatch.undo()
    assert checkpoint.store(), "the newer version is noticed"
    assert stored(tools) == "newer"


def test_a_storage_that_is_away_is_no_error(tools, tmp_path, monkeypatch):
    def never(*_):
        raise OSError("away")

    write(tmp_path, "one")
    checkpoint = Checkpoint(tools.storage, "job_1", tmp_path)
    monkeypatch.setattr(type(tools.storage), "put_file", never)
    monkeypatch.setattr(type(tools.storage), "delete", never)
    checkpoint.try_to_store()
    checkpoint.delete()


def test_keys_name_their_job():
    assert job_of(key_of("job_1")) == "job_1"


def test_a_workspace_is_gone_afterwards(home):
    with home.workspace("token") as path:
        (path / "file").touch()
    assert not path.exists()


def test_what_a_killed_worker_left_is_swept_and_nothing_else(home, monkeypatch):
    monkeypatch.setattr(places, "SETTLING_SECONDS", 0.0)
    with home.workspace("in-use") as used:
        abandon = f"""
import os, pathlib
from worker.places import Places
with Places(pathlib.Path({str(home.work.parent)!r})).workspace("left"):
    os.kill(os.getpid(), 9)
"""
        subprocess.run([sys.executable, "-c", abandon], check=False)
        assert (home.work / "left").exists()
        assert home.sweep_work() == [home.work / "left"]
        assert used.exists()
    assert home.sweep_work() == []


def test_a_young_directory_is_not_swept(home):
    (home.work / "young").mkdir(parents=True)
    assert home.sweep_work() == []


def test_a_dataset_is_fetched_once(tools, home, tmp_path):
    source = tmp_path / "source"
    source.write_text("images")
    tools.storage.put_file("datasets/ds_1.safetensors", source)
    with home.workspace("one") as path:
        home.dataset(tools.storage, "datasets/ds_1.safetensors", path)
    tools.storage.delete("datasets/ds_1.safetensors")
    with home.workspace("two") as path:
        found = home.dataset(tools.storage, "datasets/ds_1.safetensors", path)
        home.prune_cache(0)
        assert found.read_text() == "images", "pruning does not take it from a running job"
    with home.workspace("three") as path, pytest.raises(NotFound):
        home.dataset(tools.storage, "datasets/ds_1.safetensors", path)


def age(file, seconds):
    os.utime(file, (time.time() - seconds, time.time() - seconds))


def test_the_cache_drops_what_was_not_used_for_longest(home):
    home.cache.mkdir(parents=True)
    for seconds, name in enumerate(["newest", "older", "oldest"]):
        file = home.cache / f"{name}.safetensors"
        file.write_bytes(b"x" * 100)
        age(file, seconds)
    assert [path.stem for path in home.prune_cache(250)] == ["oldest"]
    assert [path.stem for path in home.prune_cache(250)] == []
    assert [path.stem for path in home.prune_cache(50)] == ["older", "newest"]


def test_of_what_jobs_keep_for_later_ones_the_unused_goes_first(home):
    paths = [
        home.assets / "cpu" / "used.safetensors",
        home.assets / "cpu" / "begun.partial",
        home.assets / "cpu" / "base_sets" / "set.safetensors",
        home.assets / "measurements" / "ab" / "abc.safetensors",
    ]
    for seconds, path in enumerate(reversed(paths)):
        save_tensors(path, {}, {})
        age(path, 100 + seconds)
    size = paths[0].stat().st_size
    assert load_kept(paths[0]) is not None  # the oldest is the one that is used now
    assert home.prune_assets(4 * size) == []
    assert home.prune_assets(2 * size) == paths[1:3]
    assert load_kept(paths[1]) is None
    assert load_kept(paths[0]) is not None
