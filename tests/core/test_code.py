from dcpi_core.code import code_digest, digest_of


def test_whatever_can_change_a_result_changes_the_digest(tmp_path):
    for name in ("methods/dm.py", "cli/main.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("rate = 1")
    found = [digest_of(tmp_path)]
    (tmp_path / "cli/main.py").write_text("colour = 2")
    assert digest_of(tmp_path) == found[0]
    (tmp_path / "methods/dm.py").write_text("rate = 2")
    found.append(digest_of(tmp_path))
    (tmp_path / "methods/dm.py").rename(tmp_path / "methods/dc.py")
    found.append(digest_of(tmp_path))
    assert len({*found, code_digest()}) == 4
