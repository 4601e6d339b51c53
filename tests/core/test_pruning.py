"""What is kept for later is kept within a limit."""

import os

from dcpi_core.pruning import prune_assets


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    paths = [tmp_path / "cpu" / f"{name}.safetensors" for name in ("old", "older", "new")]
    (tmp_path / "cpu").mkdir()
    for path, used in zip(paths, (2, 1, 3), strict=True):
        path.write_bytes(bytes(100))
        os.utime(path, (used, used))
    assert prune_assets(tmp_path, 300) == []
    assert prune_assets(tmp_path, 200) == [paths[1]]
    assert sorted(tmp_path.rglob("*.*")) == sorted([paths[0], paths[2]])


def test_nothing_is_kept_where_there_is_nothing(tmp_path):
    assert prune_assets(tmp_path / "nowhere", 0) == []


def test_what_others_have_there_is_left_alone(tmp_path):
    mine = tmp_path / "notes.txt"
    mine.write_text("mine")
    (tmp_path / "v1.safetensors").mkdir()
    kept = tmp_path / "asset.safetensors"
    kept.write_bytes(bytes(100))
    assert prune_assets(tmp_path, 0) == [kept]
    assert mine.exists()
