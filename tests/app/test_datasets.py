import asyncio
import errno
import io
import os
import subprocess
import tempfile
import threading
import zipfile
from collections import Counter
from datetime import timedelta

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from app.datasets import inspection, service
from app.jobs import leftovers
from app.kit import erasure
from app.kit.app_state import FORMS
from app.kit.db import unit_of_work
from app.kit.storage import Storage
from app.models import Erasure
from dcpi_core.datasets import load_prepared
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.errors import Conflict, DcpiError
from tests.app.conftest import FOUR_WORDS, LOCAL
from tests.servers import wait_until


def archive(classes=("cat", "dog"), per_class=10, extra=None) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for number, name in enumerate(classes):
            for index in range(per_class):
                pixels = np.full((8, 8, 3), 40 * number + index, dtype=np.uint8)
                png = io.BytesIO()
                Image.fromarray(pixels).save(png, "PNG")
                file.writestr(f"{name}/{index:04}.png", png.getvalue())
        for path, data in (extra or {}).items():
            file.writestr(path, data)
    return content.getvalue()


def upload(client, content, name="pets", **form):
    return client.post(
        "/v1/datasets", files={"file": ("pets.zip", content)}, data={"name": name, **form}
    )


def test_an_upload_can_be_condensed(client, state):
    response = upload(client, archive())
    found = response.json()
    assert response.status_code == 201
    assert response.headers["Location"] == f"/v1/datasets/{found['id']}"
    assert (found["name"], found["num_classes"], found["num_train"]) == ("pets", 2, 16)
    for wanted in ("pets", found["id"]):
        body = FOUR_WORDS | {"dataset": wanted, "fraction": 0.25, "base_method": "random"}
        job = client.post("/v1/jobs", json=body).json()
        assert (job["dataset"], job["images_per_class"]) == ("pets", 2)
        assert job["spec"]["dataset"]["fingerprint"] == found["facts"]["fingerprint"]
    names = [dataset["name"] for dataset in client.get("/v1/datasets").json()["data"]]
    assert {"digits", "pets"} <= set(names)


def test_what_was_checked_is_what_is_stored(client, state, tmp_path):
    found = upload(client, archive()).json()
    state.storage.get_file(f"datasets/{found['id']}.safetensors", tmp_path / "copy")
    assert load_prepared(tmp_path / "copy").facts.fingerprint == found["facts"]["fingerprint"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no archive at all", "not an archive"),
        (archive(classes=("cat",)), "class"),
        (archive(extra={"dog/9999.png": b"\x89PNG\r\n\x1a\n broken"}), "dog/9999.png"),
        (archive(extra={"../../etc/evil.png": b"x"}), "../../etc/evil.png"),
        (b"", "archive"),
    ],
)
def test_unusable_archives_are_refused_whole(client, state, content, words):
    response = upload(client, content)
    problem = response.json()
    assert response.status_code == 422
    assert words in problem["detail"]
    assert "/file" in [error["pointer"] for error in problem["errors"]]
    assert client.get("/v1/datasets/pets").status_code == 404
    assert state.storage.keys("datasets") == []
    assert not list(state.settings.home.glob("upload-*"))


@pytest.mark.parametrize("name", ["", "a/b", "../x", "x" * 65, "a b", "\x00"])
def test_names_are_never_paths(client, name):
    response = upload(client, archive(), name=name)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/name"


@pytest.mark.parametrize("name", ["pets", "digits"])
def test_a_name_is_taken_once(client, name):
    upload(client, archive())
    response = upload(client, archive(), name=name)
    assert (response.status_code, response.json()["code"]) == (409, "conflict")


def test_an_upload_over_the_limit_is_refused(client):
    small = client.app.state.dcpi.settings.model_copy(update={"max_upload_bytes": 100})
    object.__setattr__(client.app.state.dcpi, "settings", small)
    response = upload(client, archive())
    assert response.status_code == 413
    assert "100 bytes" in response.json()["detail"]


def test_a_body_over_the_limit_is_not_even_stored(client):
    """The form's parser would write it to the disk before anybody could look at it."""
    small = client.app.state.dcpi.settings.model_copy(update={"max_upload_bytes": 100})
    object.__setattr__(client.app.state.dcpi, "settings", small)
    response = upload(client, b"x" * 300_000)
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


def test_a_disk_that_cannot_be_written_is_not_the_callers_fault(client, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))  # where forms are spooled
    response = upload(client, bytes(2 << 20))
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert int(response.headers["Retry-After"]) > 0
    monkeypatch.undo()

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(service, "upload", full)
    assert upload(client, archive()).status_code == 503


def test_a_form_that_is_broken_is_the_callers_fault(client):
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = client.post("/v1/datasets", content=b"--x\r\nno header", headers=headers)
    assert 400 <= response.status_code < 500


@pytest.mark.parametrize(
    "parts",
    [
        [("file", ("pets.zip", b"x")), ("file", ("more.zip", b"x"))],
        [("file", ("pets.zip", b"x")), ("unknown", ("more.zip", b"x"))],
        [(name, (None, "1")) for name in ("name", "seed", "image_size", "unknown")],
        [("name", (None, "x" * 1025))],
    ],
)
def test_a_form_holds_nothing_that_the_operation_does_not_read(client, parts):
    """Up to a thousand files and fields would be held in memory until the answer."""
    response = client.post("/v1/datasets", files=parts)
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")
    assert response.headers["content-type"] == "application/problem+json"
    allowed = "file as a file and name, seed, image_size as fields of at most 1024 bytes"
    assert allowed in response.json()["detail"]


def test_a_repeated_upload_gets_the_first_answer(client, state):
    def send(content, **form):
        return client.post(
            "/v1/datasets",
            files={"file": ("pets.zip", content)},
            data={"name": "pets", **form},
            headers={"Idempotency-Key": "upload-1"},
        )

    content = archive()
    first, again, other = send(content), send(content), send(content, seed=1)
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 422)
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert state.storage.keys("datasets") == [f"datasets/{first.json()['id']}.safetensors"]


def test_two_uploads_of_one_name_at_a_time_leave_one_file(client, state, monkeypatch):
    """The second passes the first check, and is refused by the database."""
    monkeypatch.setattr(service, "_require_free", lambda *_: None)
    assert upload(client, archive()).status_code == 201
    assert upload(client, archive()).status_code == 409
    assert len(state.storage.keys("datasets")) == 1


def test_two_bodies_under_one_key_at_a_time_leave_one_file(client, state, monkeypatch):
    """The second passes the first check, and is refused where its answer is written."""
    monkeypatch.setattr(service, "recall", lambda *_: None)
    first, other = (
        client.post(
            "/v1/datasets",
            files={"file": ("pets.zip", archive())},
            data={"name": name},
            headers={"Idempotency-Key": "upload-1"},
        )
        for name in ("pets", "others")
    )
    assert (first.status_code, other.status_code) == (201, 422)
    assert len(state.storage.keys("datasets")) == 1


def erase_what_is_due(state, hours: float) -> list[str]:
    """Which datasets' files are left when their notes are so much older."""
    with unit_of_work(state.sessions) as session:
        for note in session.scalars(select(Erasure)):
            note.due_at -= timedelta(hours=hours)
    erasure.carry_out(state.sessions, state.storage, leftovers.due())
    return state.storage.keys("datasets")


@pytest.mark.parametrize(
    ("error", "status"),
    [(OperationalError("COMMIT", {}, Exception("gone")), 503), (RuntimeError("killed"), 500)],
)
def test_a_file_without_a_record_is_deleted_in_the_end(client, state, monkeypatch, error, status):
    """Whether the database took the record is not known at once, or nobody is left to know."""

    def broken(*_):
        raise error

    monkeypatch.setattr(service, "_record", broken)
    assert upload(client, archive()).status_code == status
    (left,) = state.storage.keys("datasets")
    assert erase_what_is_due(state, hours=11) == [left]
    assert erase_what_is_due(state, hours=2) == []


def test_a_file_with_a_record_stays(client, state):
    dataset_id = upload(client, archive()).json()["id"]
    assert erase_what_is_due(state, hours=1000) == [f"datasets/{dataset_id}.safetensors"]


def test_what_took_too_long_to_store_is_not_recorded(client, state, monkeypatch):
    """It may be on the way out already."""
    put_file = Storage.put_file

    def slow(storage, key, file):
        put_file(storage, key, file)
        assert erase_what_is_due(state, hours=11.9) == [key]

    monkeypatch.setattr(Storage, "put_file", slow)
    response = upload(client, archive())
    assert (response.status_code, response.json()["code"]) == (503, "storage_unreachable")
    assert client.get("/v1/datasets/pets").status_code == 404
    assert state.storage.keys("datasets") == []


def test_a_name_cannot_pose_as_an_id(client):
    response = upload(client, archive(), name="ds_" + "0" * 26)
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/name")


def test_the_inspecting_process_has_none_of_our_keys(monkeypatch, tmp_path):
    seen = []

    def run(command, **options):
        seen.extend(command)
        return subprocess.CompletedProcess(command, 2, stdout="", stderr="")

    monkeypatch.setattr(inspection.subprocess, "run", run)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("PGPASSWORD", "secret")
    with pytest.raises(DcpiError):
        inspection.inspect(tmp_path, tmp_path, inspection.UploadOptions("x", 0, None), 1)
    ours = {"-uDCPI_S3_SECRET_ACCESS_KEY", "-uDCPI_DATABASE_URL"}
    assert {"env", "-uAWS_SECRET_ACCESS_KEY", "-uPGPASSWORD", *ours} <= set(seen)


def test_pages_of_datasets_hold_published_and_uploaded_ones_once(client):
    upload(client, archive(), name="zebras")
    upload(client, archive(), name="ants")
    seen, after = [], None
    while True:
        params = {"limit": 2} | ({"after": after} if after else {})
        page = client.get("/v1/datasets", params=params).json()
        assert len(page["data"]) <= 2
        seen += [dataset["name"] for dataset in page["data"]]
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert seen[-2:] == ["ants", "zebras"]
    assert sorted(seen) == sorted({*seen})
    assert len(seen) == 2 + len(load_catalog().datasets)


def test_slow_uploads_leave_threads_to_others(application, monkeypatch):
    inside, go_on = [], threading.Event()

    def slow(*_):
        inside.append(1)
        go_on.wait(60)
        raise Conflict("enough")

    async def scene():
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url=LOCAL) as http:
            files, data = {"file": ("pets.zip", b"x")}, {"name": "pets"}
            waiting = [  # more than a process has threads for requests
                asyncio.ensure_future(http.post("/v1/datasets", files=files, data=data))
                for _ in range(45)
            ]
            await asyncio.to_thread(wait_until, lambda: len(inside) >= 2, "an upload", 30)
            try:
                other = await asyncio.wait_for(http.get("/v1/jobs"), 30)
                assert (other.status_code, len(inside)) == (200, 2)
            finally:
                go_on.set()
                answers = await asyncio.gather(*waiting)
            assert Counter(answer.status_code for answer in answers) == {
                409: FORMS,
                503: 45 - FORMS,
            }

    monkeypatch.setattr(service, "upload", slow)
    asyncio.run(scene())


def test_an_upload_clears_away_what_a_killed_process_left(client, state):
    left = state.settings.home / "upload-left"
    left.mkdir()
    os.utime(left, (0, 0))
    upload(client, b"no archive at all")
    assert not left.exists()


def test_what_is_missing_is_named(client):
    response = client.post("/v1/datasets", data={"name": "pets"})
    assert response.json()["errors"][0]["pointer"] == "/file"
