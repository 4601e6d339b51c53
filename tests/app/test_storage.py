import asyncio
import os
import random
import time
from datetime import timedelta

import pytest
from anyio import CapacityLimiter

from app.kit.local_files import CACHED_BYTES, open_file
from app.kit.storage import ByteRange, StorageError, open_storage
from app.settings import Settings
from dcpi_core.spec.errors import NotFound
from tests.app.slow_s3 import PIECE, slow_s3


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


async def gathered(pieces) -> bytes:
    """What an answer would send of these pieces."""
    return b"".join([bytes(piece) async for piece in pieces])


def opened(path, start=0, stop=None):
    """As ``open_file``, with two threads."""
    return open_file(path, CapacityLimiter(2), start, stop)


@pytest.mark.parametrize("part", [None, (0, 1), (5, 600_001), (262_144, 524_288)])
def test_a_part_is_sent_as_it_is(storage, tmp_path, part):
    content = random.Random(0).randbytes(700_000)  # several pieces
    (tmp_path / "in").write_bytes(content)
    storage.put_file("sent", tmp_path / "in")
    found = asyncio.run(gathered(storage.send("sent", ByteRange(*part) if part else None)))
    assert found == content[slice(*part) if part else slice(None)]


def test_an_empty_object_is_sent_and_a_missing_one_is_not_found(storage, tmp_path):
    (tmp_path / "in").write_bytes(b"")
    storage.put_file("empty", tmp_path / "in")
    assert asyncio.run(gathered(storage.send("empty"))) == b""
    with pytest.raises(NotFound):
        storage.send("nothing", ByteRange(0, 1))


def test_an_object_is_begun_in_the_midst_of_an_answer(storage, tmp_path):
    content = random.Random(0).randbytes(3_000_000)
    (tmp_path / "in").write_bytes(content)
    storage.put_file("begun", tmp_path / "in")

    async def begun(key: str) -> bytes:
        return await gathered(await storage.begin(key))

    assert asyncio.run(begun("begun")) == content
    with pytest.raises(NotFound):
        asyncio.run(begun("nothing"))


def refuses(*_):
    raise BlockingIOError  # nothing of it is in memory


def gives_a_byte(file, buffers, at, _):
    buffers[0][:1] = os.pread(file, 1, at)
    return 1


@pytest.mark.parametrize(
    ("name", "found"), [("NOWAIT", None), ("os.preadv", refuses), ("os.preadv", gives_a_byte)]
)
def test_what_is_not_in_memory_is_read_all_the_same(tmp_path, monkeypatch, name, found):
    content = random.Random(0).randbytes(3000)
    (tmp_path / "file").write_bytes(content)
    monkeypatch.setattr(f"app.kit.local_files.{name}", found)
    assert asyncio.run(gathered(opened(tmp_path / "file", 1, 2999))) == content[1:2999]


def test_a_file_that_becomes_shorter_ends_the_answer(tmp_path):
    (tmp_path / "file").write_bytes(b"short")
    assert asyncio.run(gathered(opened(tmp_path / "file", 0, 10))) == b"short"


def test_a_large_file_leaves_others_their_turns(tmp_path):
    (tmp_path / "file").write_bytes(bytes(CACHED_BYTES * 8))

    async def turns() -> int:
        count, over = 0, asyncio.Event()

        async def other() -> None:
            nonlocal count
            while not over.is_set():
                count += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        await gathered(opened(tmp_path / "file", 0, CACHED_BYTES * 8))
        over.set()
        await task
        return count

    assert asyncio.run(turns()) >= 8


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


@pytest.fixture
def one_second(monkeypatch):
    """A storage that is silent for a second is given up."""
    monkeypatch.setattr("app.kit.storage.SILENCE_TIME", timedelta(seconds=1))
    monkeypatch.setattr("app.kit.storage.RETRY_TIME", timedelta(seconds=1))


def test_an_object_may_take_longer_than_a_storage_may_be_silent(tmp_path, one_second):
    with slow_s3(pieces=6, pause_seconds=0.4) as server:
        storage = open_storage(Settings(home=tmp_path, **server.settings))
        began = time.monotonic()
        assert b"".join(storage.read("slow")) == PIECE * 6
        assert time.monotonic() - began > 1.5


def test_whoever_reads_may_take_longer_too(tmp_path, one_second):
    with slow_s3(pieces=2000) as server:
        storage = open_storage(Settings(home=tmp_path, **server.settings))
        sizes = []
        for chunk in storage.read("large"):
            time.sleep(1.2)
            sizes.append(len(chunk))
        assert (len(sizes), sum(sizes)) == (2, 2000 * len(PIECE))


def test_a_storage_that_falls_silent_is_given_up(tmp_path, one_second):
    with slow_s3(pieces=6, silent_after=3) as server:
        storage = open_storage(Settings(home=tmp_path, **server.settings))
        began = time.monotonic()
        with pytest.raises(StorageError):
            b"".join(storage.read("silent"))
        assert time.monotonic() - began < 10


def test_the_store_has_no_limit_of_its_own_for_a_whole_object(tmp_path):
    settings = Settings(home=tmp_path, storage_url="s3://bucket")
    assert open_storage(settings)._store.client_options["timeout"] == "1day"
