"""``submit`` and ``pull`` against a service made of one function."""

import hashlib
import json

import httpx
import pytest

from dcpi_core.bundle import load
from dcpi_core.client import Client
from dcpi_core.datasets.archive import inspect_archive
from tests.core.cli.conftest import TINY, write_pictures

COST = {
    "images_per_class": 1,
    "num_images": 7,
    "effective_fraction": 0.01,
    "bytes": {"images": 5000},
    "equivalent_images_per_class": None,
    "flops": 1.0,
    "seconds": {"cpu": [1, 60]},
    "novelty": "of a newer service",
}


JOBS = [
    {
        "id": "job_2",
        "status": "running",
        "base_method": "dc",
        "pi_type": ["soft", "feature"],
        "dataset": "digits",
        "created_at": "2026-11-21T13:05:00+01:00",
    },
    {"id": "job_1", "status": "failed", "kind": "verify", "base_method": "dm", "pi_type": ["none"]},
]


class Service:
    """Takes jobs, finishes each at the third look, and serves one bundle."""

    def __init__(self, bundle) -> None:
        self.bundle = bundle
        self.final = {"status": "succeeded", "result": {"condensed_id": "cds_1"}}
        self.looks = 0
        self.queue_ahead = 3
        self.queries: list[dict] = []
        self.bodies: list[dict] = []
        self.uploads: list[bytes] = []
        self.datasets: dict[str, dict] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1")
        if request.method == "POST":
            return self.take(path, request.read())
        if path == "/jobs":
            self.queries.append(dict(request.url.params))
            return httpx.Response(200, json={"data": JOBS, "has_more": True})
        if path == "/jobs/job_1":
            return httpx.Response(200, json={"id": "job_1"} | self.look())
        if (known := self.datasets.get(path.removeprefix("/datasets/"))) is not None:
            return httpx.Response(200, json={"id": "ds_1", "facts": known})
        if path == "/condensed/cds_1/files":
            return httpx.Response(200, json={"object": "list", "data": self.entries()})
        name = path.removeprefix("/condensed/cds_1/files/")
        if (self.bundle / name).is_file():
            return httpx.Response(200, content=(self.bundle / name).read_bytes())
        problem = {"code": "not_found", "detail": f"no {path}", "request_id": "req_7"}
        return httpx.Response(404, json=problem)

    def take(self, path: str, body: bytes) -> httpx.Response:
        if path == "/datasets":
            self.uploads.append(body)
            return httpx.Response(201, json={"id": "ds_1", "name": "mine"})
        if path.startswith("/jobs/job_1/"):
            verb = path.rpartition("/")[2]
            status = {"pause": "pausing", "cancel": "cancelling"}.get(verb, "queued")
            more = {"starts_from": "checkpoint"} if verb == "retry" else {}
            return httpx.Response(200, json={"id": "job_1", "status": status} | more)
        self.bodies.append(json.loads(body))
        if path == "/jobs/estimate":
            return httpx.Response(200, json=COST)
        queued = {"id": "job_1", "status": "queued", "queue_ahead": self.queue_ahead}
        return httpx.Response(202, json=queued)

    def look(self) -> dict:
        self.looks += 1
        if self.looks < 3:
            progress = {"phase": "base", "step": self.looks, "total_steps": 3, "fraction": 0.1}
            return {"status": "running", "phase": "base", "progress": progress}
        return self.final

    def entries(self) -> list[dict]:
        return [
            {
                "path": str(path.relative_to(self.bundle)),
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in self.bundle.rglob("*")
            if path.is_file()
        ]


@pytest.fixture
def service(made, monkeypatch):
    found = Service(made[0])

    def client(server, *, api_key=None):
        return Client(server, api_key=api_key, transport=httpx.MockTransport(found))

    monkeypatch.setattr("dcpi_core.cli.remote.Client", client)
    monkeypatch.setattr("dcpi_core.cli.controlling.Client", client)
    monkeypatch.setattr("dcpi_core.cli.estimating.Client", client)
    monkeypatch.setattr("dcpi_core.cli.jobs.Client", client)
    monkeypatch.setattr("dcpi_core.client.transport.time.sleep", lambda _: None)
    return found


def test_submit_watches_downloads_and_shows_the_table(service, dcpi, tmp_path):
    done = dcpi("submit", *TINY, "--out", tmp_path / "got")
    assert done.exit_code == 0, done.output
    assert service.bodies[0] == {
        "dataset": "digits",
        "images_per_class": 1,
        "base_method": "random",
        "pi_type": "none",
        "options": {"evaluation": {"repeats": 1, "epochs": 1}},
    }
    assert "base 1/3" in done.stderr
    assert "against base" in done.stdout
    assert load(tmp_path / "got").manifest.source.dataset == "digits"


@pytest.mark.parametrize(("ahead", "said"), [(0, "0 ahead"), (1000, "1000 or more ahead")])
def test_a_queued_job_is_named_at_once(service, dcpi, ahead, said):
    service.queue_ahead = ahead
    done = dcpi("submit", *TINY)
    assert done.stderr.startswith(f"job job_1 queued, {said} (dcpi watch job_1)\n")
    assert "job_1" not in dcpi("submit", *TINY, "--json").stderr


def test_submit_json(service, dcpi):
    done = dcpi("submit", *TINY, "--json")
    assert json.loads(done.stdout)["result"]["condensed_id"] == "cds_1"


def test_detach_prints_the_id_alone(service, dcpi):
    done = dcpi("submit", *TINY, "--detach")
    assert (done.stdout, service.looks) == ("job_1\n", 0)


def test_a_detached_job_is_watched_to_its_end(service, dcpi, tmp_path):
    done = dcpi("watch", "job_1", "--out", tmp_path / "got")
    assert done.exit_code == 0, done.output
    assert "base 2/3" in done.stderr
    assert "against base" in done.stdout
    assert load(tmp_path / "got").manifest.source.dataset == "digits"
    assert service.bodies == []


def test_a_watched_job_that_failed_is_a_failure(service, dcpi):
    service.final = {"status": "failed", "error": {"code": "x", "detail": "loss became NaN"}}
    done = dcpi("watch", "job_1")
    assert done.exit_code == 1
    assert "error: job job_1 failed: loss became NaN" in done.stderr


class TestOwnImages:
    @pytest.fixture
    def archive(self, tmp_path):
        path = tmp_path / "my pets.zip"
        write_pictures(path)
        return path

    @pytest.fixture
    def submit(self, dcpi, tmp_path):
        def run(archive, *options):
            given = ["--archive", archive, "--cache", tmp_path / "cache", "--detach"]
            return dcpi("submit", *TINY[2:], *given, *options)

        return run

    def test_they_are_uploaded_first(self, service, submit, archive):
        done = submit(archive, "--dataset", "pets", "--image-size", "32")
        assert done.exit_code == 0, done.output
        assert archive.read_bytes() in service.uploads[0]
        assert b'name="name"\r\n\r\npets\r\n' in service.uploads[0]
        assert b'name="image_size"\r\n\r\n32\r\n' in service.uploads[0]
        assert service.bodies[0]["dataset"] == "ds_1"

    def test_without_a_name_they_are_named_like_their_file(self, service, submit, archive):
        assert submit(archive).exit_code == 0
        assert b'name="name"\r\n\r\nmy-pets\r\n' in service.uploads[0]

    def test_with_a_name_the_file_may_be_called_anything(self, service, submit, archive):
        odd = archive.rename(archive.with_name("_" + "x" * 70 + ".zip"))
        assert submit(odd, "--dataset", "pets").exit_code == 0
        assert b'name="name"\r\n\r\npets\r\n' in service.uploads[0]

    def test_a_second_job_uses_what_is_there(self, service, submit, archive):
        facts = inspect_archive(archive, "my-pets", archive.with_suffix(".safetensors"))
        service.datasets["my-pets"] = facts.model_dump(mode="json")
        assert submit(archive).exit_code == 0
        assert (service.uploads, service.bodies[0]["dataset"]) == ([], "ds_1")

    def test_other_images_of_that_name_are_not_taken_for_them(self, service, submit, archive):
        write_pictures(archive.with_name("other.zip"), seed=1)
        other = archive.with_name("other.zip"), "my-pets", archive.with_suffix(".safetensors")
        service.datasets["my-pets"] = inspect_archive(*other).model_dump(mode="json")
        done = submit(archive)
        assert (done.exit_code, service.uploads, service.bodies) == (2, [], [])
        assert "--dataset my-pets and without --archive" in done.stderr

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (["--base-method", "nope"], "unknown base method"),
            (["--set", "base.nope=1"], "nope"),
            (["--images-per-class", "99"], "allows 1 to 8"),
        ],
    )
    def test_a_job_that_cannot_be_is_refused_before_the_upload(
        self, service, submit, archive, options, told
    ):
        done = submit(archive, *options)
        assert (done.exit_code, service.uploads) == (2, [])
        assert told in done.stderr

    def test_so_is_an_archive_that_is_none(self, service, submit, archive):
        archive.write_bytes(b"PK-images")
        assert (submit(archive).exit_code, service.uploads) == (2, [])


@pytest.mark.parametrize("command", [["submit", *TINY], ["watch", "job_1"], ["pull", "cds_1"]])
def test_what_is_in_the_way_is_left_alone(service, dcpi, tmp_path, command):
    (tmp_path / "README.md").write_text("mine")
    done = dcpi(*command, "--out", tmp_path)
    assert (done.exit_code, service.bodies) == (2, [])
    assert service.looks <= 1
    assert "new or empty" in done.stderr
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_download_is_taken_up_by_watching_again(service, dcpi, tmp_path):
    dcpi("watch", "job_1", "--out", tmp_path / "got")
    (tmp_path / "got" / "data.safetensors").unlink()
    assert dcpi("watch", "job_1", "--out", tmp_path / "got").exit_code == 0
    assert load(tmp_path / "got").manifest.source.dataset == "digits"


def test_a_failed_job_is_a_failure(service, dcpi):
    service.final = {"status": "failed", "error": {"code": "x", "detail": "loss became NaN"}}
    done = dcpi("submit", *TINY)
    assert done.exit_code == 1
    assert "error: job job_1 failed: loss became NaN" in done.stderr


def test_ctrl_c_leaves_the_job_running(service, dcpi, monkeypatch):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("dcpi_core.client.resources.Jobs.wait", interrupt)
    done = dcpi("submit", *TINY)
    assert done.exit_code == 130
    assert "dcpi watch job_1" in done.stderr


def test_a_service_that_stays_away_does_not_end_the_job(service, dcpi, monkeypatch):
    monkeypatch.setattr("dcpi_core.client.waiting.PATIENCE_SECONDS", 0.01)
    look = service.look

    def away() -> dict:
        if service.looks == 1:
            raise httpx.ConnectError("refused")
        return look()

    monkeypatch.setattr(service, "look", away)
    done = dcpi("submit", *TINY)
    assert done.exit_code == 2
    assert "error: no answer from http://127.0.0.1:8000" in done.stderr
    assert "job job_1 goes on; watch it again with: dcpi watch job_1" in done.stderr


@pytest.mark.parametrize("item", ["cds_1", "job_1"])
def test_pull_by_either_id(service, dcpi, tmp_path, item):
    service.looks = 3
    done = dcpi("pull", item, "--out", tmp_path / "got")
    assert done.exit_code == 0
    assert load(tmp_path / "got").manifest.source.dataset == "digits"


def test_pull_of_an_unfinished_job(service, dcpi):
    done = dcpi("pull", "job_1")
    assert done.exit_code == 1
    assert "running" in done.stderr


def test_pull_of_nothing(service, dcpi):
    done = dcpi("pull", "cds_nope")
    assert done.exit_code == 2
    assert "error: no /condensed/cds_nope" in done.stderr
    assert "HTTP 404, request req_7" in done.stderr


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("pause", "job_1 is pausing"),
        ("resume", "job_1 is queued"),
        ("cancel", "job_1 is cancelling"),
        ("retry", "job_1 is queued, starting from its checkpoint"),
    ],
)
def test_a_job_is_told_what_to_do(service, dcpi, verb, said):
    done = dcpi(verb, "job_1")
    assert (done.exit_code, done.stdout) == (0, f"{said}\n")


def test_jobs_are_listed(service, dcpi):
    done = dcpi("jobs", "--status", "running,failed", "--limit", "2")
    assert done.exit_code == 0, done.output
    assert service.queries == [{"limit": "2", "status": "running,failed"}]
    _, first, second = (line.split() for line in done.stdout.splitlines())
    assert first == [
        "job_2",
        "running",
        "dc",
        "+",
        "soft",
        "+",
        "feature",
        "digits",
        "2026-11-21",
        "12:05",
    ]
    assert second == ["job_1", "failed", "verify:", "dm"]
    assert "--limit" in done.stderr
    assert [job["id"] for job in json.loads(dcpi("jobs", "--json").stdout)] == ["job_2", "job_1"]


def test_submit_says_how_the_job_is_to_be_treated(service, dcpi):
    options = ["--deadline", "600", "--priority", "high", "--recompute", "--detach"]
    assert dcpi("submit", *TINY, *options).exit_code == 0
    given = {name: service.bodies[0][name] for name in ("deadline_seconds", "priority", "cache")}
    assert given == {"deadline_seconds": 600, "priority": "high", "cache": "ignore"}


def test_a_treatment_that_does_not_exist_is_refused(service, dcpi):
    done = dcpi("submit", *TINY, "--priority", "urgent")
    assert (done.exit_code, service.bodies) == (2, [])
    assert "priority" in done.stderr
    assert "'low', 'normal' or 'high'" in done.stderr


def test_the_service_estimates_a_job_on_an_upload(service, dcpi, tmp_path):
    done = dcpi("estimate", *TINY[2:], "--dataset", "ds_1")
    assert done.exit_code == 0, done.output
    assert service.bodies[0]["dataset"] == "ds_1"
    assert "7 (1 per class, 1 % of the training set)" in done.stdout
    assert "(images 5,000)" in done.stdout
    (tmp_path / "spec.json").write_text('{"dataset": "ds_2"}')
    assert dcpi("estimate", tmp_path / "spec.json", *TINY[2:]).exit_code == 0
    assert service.bodies[1]["dataset"] == "ds_2"


def test_a_condensation_here_takes_no_words_for_a_service(dcpi, tmp_path):
    (tmp_path / "spec.json").write_text('{"dataset": "digits", "deadline_seconds": 60}')
    done = dcpi("condense", tmp_path / "spec.json", *TINY, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "deadline_seconds" in done.stderr
