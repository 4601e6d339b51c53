import hashlib
import io
import zipfile

import pytest
from sqlalchemy import event

from app.condensed.registration import describe_bundle, object_key
from app.jobs import leases
from app.kit.db import unit_of_work
from app.kit.tenancy import bound
from app.models import DEFAULT_TENANT, Condensed, Job
from dcpi_core.spec.report import Arm, ByteCount, Environment, Report
from tests.app.conftest import FOUR_WORDS, queued, result, upload

FILES = {"data.safetensors": bytes(range(256)) * 20, "previews/grid.png": b"\x89PNG fake"}


def report() -> Report:
    def arm(name, *runs, network="ConvNetD2"):
        return Arm(
            name=name,
            title=name,
            network=network,
            num_images=10,
            train_bytes=1,
            runs=runs,
            per_class=(1.0,),
        )

    return Report(
        protocol="dc",
        epochs=1,
        seeds=(0, 1),
        num_test=1,
        arms=(
            arm("random", 0.1, 0.2),
            arm("base", 0.3, 0.4),
            arm("privileged", 0.5, 0.6),
            arm("permuted", 0.2, 0.3),
            arm("privileged", 0.8, 0.9, network="MLP"),
        ),
        differences=(),
        bytes=ByteCount(images=1, labels=2, privileged={"feature": 3}),
        seconds={},
        environment=Environment(
            dcpi="", python="", torch="", machine="", device="cpu", threads=1, engine=""
        ),
    )


@pytest.fixture
def condensed_id(client, state, job_id, tmp_path) -> str:
    """A finished job, as the worker leaves it."""
    folder = tmp_path / "bundle"
    (folder / "previews").mkdir(parents=True)
    for path, content in FILES.items():
        (folder / path).write_bytes(content)
    (folder / "report.json").write_text(report().model_dump_json())
    (folder / "manifest.json").write_text('{"format": "dcpi-condensed/1"}')
    with unit_of_work(state.sessions) as session:
        lease = leases.claim(session, job_id, "worker", 60)
        row = describe_bundle(session.get(Job, job_id), folder)
        for file in row.files:
            state.storage.put_file(object_key(row.id, file["path"]), folder / file["path"])
        assert leases.finish(session, lease, row)
        return row.id


def test_the_row_tells_what_the_report_says(client, condensed_id):
    found = client.get(f"/v1/condensed/{condensed_id}").json()
    assert found["top1"] == pytest.approx(0.55)
    assert found["bytes_total"] == 6
    means = {arm: summary["mean"] for arm, summary in found["headline"].items()}
    assert means == pytest.approx(
        {"random": 0.15, "base": 0.35, "privileged": 0.55, "permuted": 0.25}
    )
    assert found["headline"]["random"]["n"] == 2


def test_it_is_the_answer_to_an_equal_job_by_the_same_code(client, condensed_id):
    again = client.post("/v1/jobs", json=FOUR_WORDS).json()
    assert (again["cached"], again["result"]["condensed_id"]) == (True, condensed_id)


def test_files_are_listed_and_come_as_they_are(client, condensed_id):
    listed = client.get(f"/v1/condensed/{condensed_id}/files").json()["data"]
    assert {file["path"] for file in listed} == {*FILES, "report.json", "manifest.json"}
    for file in listed:
        response = client.get(f"/v1/condensed/{condensed_id}/files/{file['path']}")
        assert hashlib.sha256(response.content).hexdigest() == file["sha256"]
        assert response.headers["etag"] == f'"{file["sha256"]}"'
        assert len(response.content) == file["bytes"]


def test_neither_lists_nor_downloads_read_what_they_do_not_show(client, state, condensed_id):
    said = []
    event.listen(state.engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    for path in ("", f"/{condensed_id}", f"/{condensed_id}/files/report.json"):
        assert client.get(f"/v1/condensed{path}").status_code == 200
    read = [statement for statement in said if "condensed.headline" in statement]
    assert len(read) == 3
    assert not any("condensed.report" in found or "condensed.manifest" in found for found in read)
    with state.sessions() as session:  # for whoever wants them
        assert session.get_one(Condensed, condensed_id).report["protocol"] == "dc"


@pytest.mark.parametrize("order", ["asc", "desc", None])
def test_files_are_listed_by_path_page_by_page(client, condensed_id, order):
    url, seen, more = f"/v1/condensed/{condensed_id}/files", [], {}
    wanted = {"limit": 2} | ({"order": order} if order else {})
    while True:
        page = client.get(url, params=wanted | more).json()
        seen += [file["path"] for file in page["data"]]
        if not page["has_more"]:
            break
        more = {"after": page["last_id"]}
    every = [*FILES, "report.json", "manifest.json"]
    assert seen == sorted(every, reverse=order == "desc")


def test_shortcuts_have_their_media_types(client, condensed_id):
    own = f"/v1/condensed/{condensed_id}"
    assert client.get(f"{own}/preview.png").headers["content-type"] == "image/png"
    assert client.get(f"{own}/report.json").json()["arms"][0]["name"] == "random"
    assert client.get(f"{own}/manifest.json").json()["format"] == "dcpi-condensed/1"


@pytest.mark.parametrize(
    ("range_", "expected", "slice_"),
    [
        ("bytes=0-9", "bytes 0-9/5120", slice(0, 10)),
        ("bytes=5000-", "bytes 5000-5119/5120", slice(5000, None)),
        ("bytes=-20", "bytes 5100-5119/5120", slice(-20, None)),
        ("bytes=0-99999", "bytes 0-5119/5120", slice(0, None)),
    ],
)
def test_parts_of_a_file(client, condensed_id, range_, expected, slice_):
    url = f"/v1/condensed/{condensed_id}/files/data.safetensors"
    response = client.get(url, headers={"Range": range_})
    assert (response.status_code, response.headers["content-range"]) == (206, expected)
    assert response.content == FILES["data.safetensors"][slice_]


@pytest.mark.parametrize("range_", ["bytes=5120-", "bytes=9999-10000", "bytes=-0"])
def test_parts_that_do_not_exist(client, condensed_id, range_):
    url = f"/v1/condensed/{condensed_id}/files/data.safetensors"
    response = client.get(url, headers={"Range": range_})
    assert (response.status_code, response.headers["content-range"]) == (416, "bytes */5120")


@pytest.mark.parametrize(
    "range_", ["bytes=9-3", "lines=1-2", "bytes=0-1,4-5", "bytes=-", "bytes=0-" + "9" * 5000]
)
def test_ranges_that_make_no_sense_are_ignored(client, condensed_id, range_):
    url = f"/v1/condensed/{condensed_id}/files/data.safetensors"
    response = client.get(url, headers={"Range": range_})
    assert (response.status_code, response.content) == (200, FILES["data.safetensors"])


def test_a_stale_validator_gets_the_whole_new_file(client, condensed_id):
    url = f"/v1/condensed/{condensed_id}/files/data.safetensors"
    etag = client.get(url).headers["etag"]
    fresh = client.get(url, headers={"Range": "bytes=0-9", "If-Range": etag})
    stale = client.get(url, headers={"Range": "bytes=0-9", "If-Range": '"old"'})
    assert (fresh.status_code, stale.status_code) == (206, 200)
    for known in (etag, f'"other", W/{etag}', "*"):
        assert client.get(url, headers={"If-None-Match": known}).status_code == 304


def test_a_file_that_the_storage_lost_is_no_empty_success(client, state, condensed_id):
    state.storage.delete(object_key(condensed_id, "data.safetensors"))
    response = client.get(f"/v1/condensed/{condensed_id}/files/data.safetensors")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert "'data.safetensors'" in response.json()["detail"]
    assert "condensed/" not in response.json()["detail"], "the key is ours alone"
    for path in ("files/data.safetensors", "archive"):
        assert client.head(f"/v1/condensed/{condensed_id}/{path}").status_code == 404
    assert client.get(f"/v1/condensed/{condensed_id}/archive").status_code == 404


FILE_ROUTES = ["manifest.json", "report.json", "preview.png", "files/data.safetensors", "archive"]


@pytest.mark.parametrize("path", FILE_ROUTES)
def test_head_answers_as_get_without_a_body(client, condensed_id, path):
    url = f"/v1/condensed/{condensed_id}/{path}"
    got, head = client.get(url), client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    ours = {"x-request-id"}
    assert {name: value for name, value in head.headers.items() if name not in ours} == {
        name: value for name, value in got.headers.items() if name not in ours
    }


def test_head_knows_no_ranges_but_validators(client, condensed_id):
    url = f"/v1/condensed/{condensed_id}/files/data.safetensors"
    part = client.head(url, headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.headers["content-length"]) == (200, "5120")
    known = client.head(url, headers={"If-None-Match": part.headers["etag"]})
    assert known.status_code == 304
    assert client.head(f"/v1/condensed/{condensed_id}/files/nothing").status_code == 404


@pytest.mark.parametrize(
    "path", ["%2e%2e/report.json", "..%2f..%2fdcpi.db", "%2fetc%2fpasswd", "nothing", "previews"]
)
def test_only_listed_paths_exist(client, condensed_id, path):
    response = client.get(f"/v1/condensed/{condensed_id}/files/{path}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_the_archive_holds_every_file_uncompressed(client, condensed_id):
    response = client.get(f"/v1/condensed/{condensed_id}/archive")
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert {name: archive.read(name) for name in FILES} == FILES


def test_results_of_an_upload_are_found_by_its_id_and_by_its_name(client, state):
    with unit_of_work(bound(state.sessions, DEFAULT_TENANT)) as session:
        for job_id, dataset_id in (("job_1", "ds_1"), ("job_2", "ds_2")):
            session.add(upload(dataset_id, f"pets {dataset_id}"))
            session.flush()
            job = queued(job_id)
            job.dataset, job.dataset_id = "pets", dataset_id
            session.add(job)
            session.flush()
            session.add(result(job_id, dataset="pets"))

    def found(dataset):
        listed = client.get("/v1/condensed", params={"dataset": dataset}).json()["data"]
        return {one["job_id"] for one in listed}

    assert found("ds_1") == {"job_1"}
    assert found("pets") == {"job_1", "job_2"}
    assert found("ds_3") == set()


def test_filters(client, condensed_id):
    count = lambda **filters: len(client.get("/v1/condensed", params=filters).json()["data"])  # noqa: E731
    assert count(dataset="digits", base_method="dc", pi_type="feature", images_per_class=1) == 1
    assert count(pi_type="soft") == 0
    assert count(images_per_class=2) == 0
