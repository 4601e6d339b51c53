"""Events without gap or duplicate, and downloads that resume and are checked."""

import hashlib
import json

import httpx
import pytest

from dcpi_core.client import ServiceUnreachable
from dcpi_core.client.events import parse_stream
from dcpi_core.spec.errors import BundleError, InvalidInput
from tests.core.client.conftest import page


class Torn(httpx.SyncByteStream):
    """A body that breaks off."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks

    def __iter__(self):
        yield from self.chunks
        raise httpx.ReadError("connection reset")


def sse(*events: tuple[int, str, dict]) -> bytes:
    return b"".join(
        f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()
        for number, kind, data in events
    )


class TestParsing:
    def test_fields(self):
        text = 'retry: 3000\n: ping\n\nid: 4\nevent: log\ndata: {\ndata: "a": 1}\n\ndata:x\n\n'
        first, second = parse_stream(text.split("\n"))
        assert (first.id, first.type, first.data) == ("4", "log", {"a": 1})
        assert (second.id, second.type, second.data) == ("", "message", {"value": "x"})

    def test_a_half_event_is_not_reported(self):
        assert list(parse_stream(["id: 1", "data: {}"])) == []


class TestEvents:
    def test_recorded_pages(self, service):
        first = {"id": 1, "type": "status", "data": {"status": "queued"}}
        second = {"id": "2", "type": "end", "data": {}}
        client, sent = service([page(first, more=True), page(second)])
        assert [event.type for event in client.jobs.events("job_1")] == ["status", "end"]
        assert sent[1].url.params["after"] == "1"

    def test_live_until_the_end(self, service):
        body = sse((1, "status", {"a": 1}), (2, "end", {}), (3, "never", {}))
        client, sent = service([httpx.Response(200, content=body)])
        found = list(client.jobs.events("job_1", follow=True))
        assert [(event.id, event.type) for event in found] == [("1", "status"), ("2", "end")]
        assert sent[0].headers["accept"] == "text/event-stream"
        assert "last-event-id" not in sent[0].headers

    def test_a_break_is_taken_up_after_the_last_event(self, service):
        torn = Torn(sse((1, "log", {}), (2, "log", {})), b"id: 3\nevent: lo")
        rest = sse((3, "log", {}), (4, "end", {}))
        client, sent = service(
            [httpx.Response(200, stream=torn), httpx.Response(200, content=rest)]
        )
        found = [event.id for event in client.jobs.events("job_1", follow=True)]
        assert found == ["1", "2", "3", "4"]
        assert sent[1].headers["last-event-id"] == "2"

    def test_a_stream_that_closes_early_is_taken_up_too(self, service):
        parts = [sse((1, "log", {})), sse((2, "end", {}))]
        client, sent = service([httpx.Response(200, content=part) for part in parts])
        assert [event.id for event in client.jobs.events("job_1", follow=True)] == ["1", "2"]
        assert sent[1].headers["last-event-id"] == "1"

    def test_a_dead_stream_is_given_up(self, service):
        client, _ = service(lambda _: httpx.Response(200, stream=Torn()))
        with pytest.raises(ServiceUnreachable, match="broke off"):
            list(client.jobs.events("job_1", follow=True))


class Store:
    """A condensed dataset of a few files, served with byte ranges."""

    def __init__(self, **files: bytes) -> None:
        self.files = {name.replace("__", "/").replace("_", "."): v for name, v in files.items()}
        self.requests: list[httpx.Request] = []
        self.break_after: list[int] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path.removeprefix("/v1/condensed/cds_1/files")
        if not path:
            return page(*[self.entry(name) for name in self.files])
        data = self.files[path.lstrip("/")]
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        asked = request.headers.get("range")
        if asked and request.headers.get("if-range") == etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            return self.body(206, data[start:])
        return self.body(200, data)

    def entry(self, name: str) -> dict:
        data = self.files[name]
        return {"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def body(self, status: int, data: bytes) -> httpx.Response:
        if self.break_after:
            return httpx.Response(status, stream=Torn(data[: self.break_after.pop(0)]))
        return httpx.Response(status, content=data)

    def ranges(self) -> list[str | None]:
        return [r.headers.get("range") for r in self.requests if "/files/" in r.url.path]


class TestDownload:
    def test_files_arrive_in_their_places(self, service, tmp_path):
        store = Store(manifest_json=b"{}", previews__grid_png=b"png" * 99)
        client, _ = service(store)
        seen = []
        client.condensed.download("cds_1", tmp_path, lambda *a: seen.append(a))
        assert (tmp_path / "previews/grid.png").read_bytes() == b"png" * 99
        assert ("previews/grid.png", 297, 297) in seen
        assert not list(tmp_path.rglob("*.part"))

    def test_a_break_is_resumed_and_no_byte_comes_twice(self, service, tmp_path):
        store = Store(data_bin=bytes(range(256)))
        store.break_after = [100, 50]
        client, _ = service(store)
        client.condensed.download("cds_1", tmp_path)
        assert (tmp_path / "data.bin").read_bytes() == bytes(range(256))
        assert store.ranges() == [None, "bytes=100-", "bytes=150-"]

    def test_a_later_call_goes_on(self, service, tmp_path):
        store = Store(data_bin=bytes(range(256)))
        (tmp_path / "data.bin.part").write_bytes(bytes(range(200)))
        client, _ = service(store)
        client.condensed.download("cds_1", tmp_path)
        assert store.ranges() == ["bytes=200-"]
        assert (tmp_path / "data.bin").read_bytes() == bytes(range(256))

    def test_what_is_there_is_not_fetched_again(self, service, tmp_path):
        store = Store(data_bin=b"x" * 10)
        client, _ = service(store)
        client.condensed.download("cds_1", tmp_path)
        client.condensed.download("cds_1", tmp_path)
        assert store.ranges() == [None]

    def test_files_of_somebody_else_are_left_alone(self, service, tmp_path):
        store = Store(manifest_json=b"{}", train_py=b"theirs", data_bin=b"x")
        client, _ = service(store)
        for name in ("train.py", "manifest.json", "thesis.tex"):
            place = tmp_path / name.partition(".")[0]
            place.mkdir()
            (place / name).write_bytes(b"mine")
            with pytest.raises(InvalidInput, match=f"{name}.*new or empty directory"):
                client.condensed.download("cds_1", place)
            assert [path.read_bytes() for path in place.iterdir()] == [b"mine"]
        (tmp_path / "file").write_bytes(b"mine")
        with pytest.raises(InvalidInput, match="no directory"):
            client.condensed.download("cds_1", tmp_path / "file")

    def test_another_bundle_is_no_earlier_download(self, service, tmp_path):
        other, _ = service(Store(manifest_json=b"{1}", data_bin=b"1"))
        other.condensed.download("cds_1", tmp_path)
        client, _ = service(Store(manifest_json=b"{2}", data_bin=b"2"))
        with pytest.raises(InvalidInput, match="earlier download of this bundle"):
            client.condensed.download("cds_1", tmp_path)
        assert (tmp_path / "data.bin").read_bytes() == b"1"

    def test_a_download_of_several_files_goes_on(self, service, tmp_path):
        store = Store(manifest_json=b"{}", a_bin=b"a" * 9, previews__b_png=b"b" * 9)
        store.break_after = [9, 4] + [0] * 20
        client, _ = service(store)
        with pytest.raises(ServiceUnreachable):
            client.condensed.download("cds_1", tmp_path)
        left = sorted(path.name for path in tmp_path.rglob("*.*"))
        assert left == ["a.bin", "b.png.part"]  # the manifest comes last
        store.break_after = []
        client.condensed.download("cds_1", tmp_path)
        assert (tmp_path / "previews/b.png").read_bytes() == b"b" * 9

    def test_a_bundle_that_is_there_is_mended(self, service, tmp_path):
        client, _ = service(Store(manifest_json=b"{}", data_bin=b"right"))
        client.condensed.download("cds_1", tmp_path)
        (tmp_path / "data.bin").write_bytes(b"wrong")
        (tmp_path / "notes.txt").write_bytes(b"mine")
        client.condensed.download("cds_1", tmp_path)
        assert (tmp_path / "data.bin").read_bytes() == b"right"

    def test_a_stale_part_is_not_glued_to_a_new_file(self, service, tmp_path):
        store = Store(data_bin=b"new" * 10)
        (tmp_path / "data.bin.part").write_bytes(b"old")
        client, _ = service(store)
        client.condensed.download("cds_1", tmp_path)
        assert store.ranges() == ["bytes=3-", None]
        assert (tmp_path / "data.bin").read_bytes() == b"new" * 10

    def test_a_service_without_ranges_sends_all(self, service, tmp_path):
        store = Store(data_bin=b"abcdef")
        (tmp_path / "data.bin.part").write_bytes(b"abc")

        def answer(request):
            request.headers.pop("range", None)
            return store(request)

        client, _ = service(answer)
        client.condensed.download("cds_1", tmp_path)
        assert (tmp_path / "data.bin").read_bytes() == b"abcdef"

    @pytest.mark.parametrize("longer", [True, False])
    def test_altered_content_is_refused(self, service, tmp_path, longer):
        store = Store(data_bin=b"abcdef")
        entry = store.entry("data.bin")
        store.entry = lambda name: entry  # announced as before, whatever is served
        store.files["data.bin"] = b"abcdefg" if longer else b"abcdeX"
        client, _ = service(store)
        with pytest.raises(BundleError, match=r"data\.bin"):
            client.condensed.download("cds_1", tmp_path)
        assert not (tmp_path / "data.bin").exists()

    @pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil", "..\\evil"])
    def test_names_that_lead_out_are_refused(self, service, tmp_path, path):
        store = Store()
        store.files = {path: b"evil"}
        client, _ = service(store)
        with pytest.raises(BundleError, match="plain relative path"):
            client.condensed.download("cds_1", tmp_path / "inner")
        assert not list(tmp_path.rglob("*evil*"))

    def test_a_connection_that_always_breaks_is_given_up(self, service, tmp_path):
        store = Store(data_bin=b"abcdef")
        store.break_after = [2] + [0] * 20
        client, _ = service(store)
        with pytest.raises(ServiceUnreachable, match=r"data\.bin"):
            client.condensed.download("cds_1", tmp_path)
        assert (tmp_path / "data.bin.part").read_bytes() == b"ab"

    def test_an_empty_file(self, service, tmp_path):
        store = Store(empty_txt=b"")
        client, _ = service(store)
        client.condensed.download("cds_1", tmp_path)
        assert (tmp_path / "empty.txt").read_bytes() == b""
