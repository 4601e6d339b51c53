import pytest

from app.kit.storage import ByteRange, open_storage
from app.settings import Settings
from dcpi_core.spec.errors import NotFound


@pytest.fixture(params=["local", "s3"])
def storage(request, tmp_path):
    if request.param == "local":
        return open_storage(Settings(home=tmp_path))
    return open_storage(Settings(home=tmp_path, **request.getfixturevalue("s3_settings")))


def test_what_goes_in_comes_out(storage, tmp_path):
    content = bytes(range(256)) * 10_000  # more than one piece
    (tmp_path / "in").write_bytes(content)
    storage.put_file("a/b.bin", tmp_path / "in")
    assert storage.size("a/b.bin") == len(content)
    assert b"".join(storage.read("a/b.bin")) == content
    assert b"".join(storage.read("a/b.bin", ByteRange(5, 9))) == content[5:9]
    storage.get_file("a/b.bin", tmp_path / "folder" / "out")
    assert (tmp_path / "folder" / "out").read_bytes() == content


def test_an_object_is_replaced_whole(storage, tmp_path):
    for content in (b"long before", b"short"):
        (tmp_path / "in").write_bytes(content)
        storage.put_file("replaced", tmp_path / "in")
    assert b"".join(storage.read("replaced")) == b"short"


def test_lists_what_lies_below_a_prefix(storage, tmp_path):
    (tmp_path / "in").write_bytes(b"x")
    for key in ("list/b", "list/a/c", "listed"):
        storage.put_file(key, tmp_path / "in")
    assert storage.keys("list") == ["list/a/c", "list/b"]
    storage.delete("list/b")
    storage.delete("list/b")  # twice is no error
    assert storage.keys("list") == ["list/a/c"]


def test_what_is_not_there_is_not_found(storage, tmp_path):
    assert not storage.exists("nothing")
    with pytest.raises(NotFound) as caught:
        storage.get_file("nothing/secret", tmp_path / "out")
    assert "secret" not in caught.value.detail
    assert not (tmp_path / "out").exists()


def test_without_a_key_the_machine_provides_one(tmp_path):
    settings = Settings(home=tmp_path, storage_url="s3://bucket", s3_access_key_id="")
    assert open_storage(settings)._store.config.get("access_key_id") is None


def test_check_passes_where_the_storage_answers(storage):
    storage.check()


def test_check_fails_where_nothing_answers(tmp_path):
    gone = Settings(
        home=tmp_path,
        storage_url="s3://bucket",
        s3_endpoint="http://127.0.0.1:1",
        s3_access_key_id="x",
        s3_secret_access_key="y",
    )
    with pytest.raises(Exception, match=r"127\.0\.0\.1:1"):
        open_storage(gone).check()
