"""What is sent, what is sent again, and what an error becomes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import httpx
import pytest

from dcpi_core.client import ApiError, Client, ServiceUnreachable
from dcpi_core.client.transport import delay_seconds
from dcpi_core.spec.errors import (
    BudgetError,
    Conflict,
    DcpiError,
    InvalidInput,
    NotFound,
    QuotaExceeded,
)
from dcpi_core.spec.job import JobRequest
from tests.core.client.conftest import job, ok, page, problem

REQUEST = {"dataset": "digits", "fraction": "1%", "base_method": "random", "pi_type": "none"}


class TestJobs:
    def test_create_sends_what_was_asked_and_a_key(self, service):
        client, sent = service([ok(job())])
        assert client.jobs.create(REQUEST).id == "job_1"
        assert (sent[0].method, sent[0].url.path) == ("POST", "/v1/jobs")
        assert json.loads(sent[0].content) == REQUEST
        assert len(sent[0].headers["idempotency-key"]) >= 32

    def test_a_typed_request_leaves_defaults_to_the_service(self, service):
        client, sent = service([ok(job())])
        client.jobs.create(JobRequest(**REQUEST))
        assert json.loads(sent[0].content) == REQUEST

    def test_a_retry_keeps_the_key_and_the_next_call_has_another(self, service):
        client, sent = service([problem(503, "busy"), ok(job()), ok(job())])
        client.jobs.create(REQUEST)
        client.jobs.create(REQUEST)
        keys = [request.headers["idempotency-key"] for request in sent]
        assert keys[0] == keys[1] != keys[2]

    def test_own_key(self, service):
        client, sent = service([ok(job())])
        client.jobs.create(REQUEST, idempotency_key="mine")
        assert sent[0].headers["idempotency-key"] == "mine"

    def test_cancel(self, service):
        client, sent = service([ok(job("cancelled"))])
        assert client.jobs.cancel("job_1").finished
        assert (sent[0].method, sent[0].url.path) == ("POST", "/v1/jobs/job_1/cancel")

    def test_a_deletion_whose_answer_was_lost_has_worked(self, service):
        client, sent = service([httpx.ReadError("lost"), problem(404, "not_found")])
        client.jobs.delete("job_1")
        assert [request.method for request in sent] == ["DELETE", "DELETE"]

    def test_what_was_never_there_cannot_be_deleted(self, service):
        client, _ = service([problem(404, "not_found")])
        with pytest.raises(NotFound):
            client.jobs.delete("job_1")

    @pytest.mark.parametrize("verb", ["pause", "resume", "retry"])
    def test_verbs(self, service, verb):
        client, sent = service([ok(job("queued", starts_from="checkpoint"))])
        assert getattr(client.jobs, verb)("job_1").starts_from == "checkpoint"
        assert (sent[0].method, sent[0].url.path) == ("POST", f"/v1/jobs/job_1/{verb}")

    def test_what_a_newer_service_says_otherwise_is_no_error(self, service):
        client, _ = service([ok(job(spec={"format": "dcpi-job/9"}, estimate={}, attempt=2))])
        found = client.jobs.get("job_1")
        assert (found.spec, found.estimate, found.attempt) == (None, None, 2)

    def test_ids_cannot_address_anything_else(self, service):
        client, sent = service([ok(job())])
        client.jobs.get("../datasets?x=1#y")
        assert sent[0].url.raw_path == b"/v1/jobs/..%2Fdatasets%3Fx%3D1%23y"


class TestLists:
    def test_pages_are_joined(self, service):
        client, sent = service([page({"id": "a"}, {"id": "b"}, more=True), page({"id": "c"})])
        assert [item.id for item in client.datasets.each()] == ["a", "b", "c"]
        assert "after" not in sent[0].url.params
        assert sent[1].url.params["after"] == "b"

    def test_one_page_with_filters(self, service):
        client, sent = service([page(job(), more=True)])
        found = client.jobs.list(limit=1, status="running")
        assert (found.has_more, found.last_id, found.data[0].status) == (True, "job_1", "queued")
        assert dict(sent[0].url.params) == {"limit": "1", "status": "running"}

    def test_components(self, service):
        client, sent = service(lambda _: page({"name": "dc", "options_schema": {"type": "object"}}))
        for part in (client.methods, client.privileged_types, client.architectures):
            assert part.list().data[0].name == "dc"
        # The service refuses parameters that it does not know.
        assert [request.url.raw_path for request in sent] == [
            b"/v1/methods",
            b"/v1/privileged-types",
            b"/v1/architectures",
        ]

    def test_fields_of_a_newer_service_are_kept(self, service):
        client, _ = service([ok(job(novelty=7))])
        assert client.jobs.get("job_1").novelty == 7


class TestUpload:
    def test_form_and_rewinding(self, service, tmp_path):
        archive = tmp_path / "mine.zip"
        archive.write_bytes(b"PK" + bytes(1000))
        client, sent = service([problem(502, "x"), ok({"id": "ds_1", "name": "mine"})])
        assert client.datasets.upload(archive, name="mine", image_size=32).id == "ds_1"
        for request in sent:
            assert archive.read_bytes() in request.content
            assert b'name="image_size"\r\n\r\n32' in request.content
            assert b'filename="mine.zip"' in request.content
            assert b'name="seed"' not in request.content


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (422, "budget_out_of_range", BudgetError),
            (422, "invalid_input", InvalidInput),
            (404, "not_found", NotFound),
            (409, "conflict", Conflict),
            (422, "idempotency_key_reused", ApiError),
        ],
    )
    def test_the_code_decides_the_class(self, service, status, code, kind):
        entries = [{"pointer": "/fraction", "code": code, "message": "too small"}]
        client, sent = service([problem(status, code, errors=entries, request_id="req_9")])
        with pytest.raises(DcpiError) as caught:
            client.jobs.get("job_1")
        error = caught.value
        assert type(error) is kind
        assert (error.code, error.detail) == (code, f"about {code}")
        assert error.problems[0].pointer == "/fraction"
        assert error.__notes__ == [f"HTTP {status}, request req_9"]
        assert len(sent) == 1

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"\xff"])
    def test_an_error_that_is_no_problem_document(self, service, body):
        client, _ = service([httpx.Response(403, content=body)])
        with pytest.raises(ApiError, match="403"):
            client.jobs.get("job_1")

    @pytest.mark.parametrize("body", [b"<html>welcome", b'{"status": "queued"}', b"[]"])
    def test_an_answer_of_another_service(self, service, body):
        client, _ = service([httpx.Response(200, content=body)])
        with pytest.raises(ApiError):
            client.jobs.get("job_1")

    @pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "", "/v1"])
    def test_addresses_that_are_none(self, url):
        with pytest.raises(InvalidInput, match="address"):
            Client(url)


class TestRetries:
    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
    def test_what_may_pass_is_tried_again(self, service, naps, status):
        client, sent = service([problem(status, "x"), problem(status, "x"), ok(job())])
        assert client.jobs.get("job_1").id == "job_1"
        assert len(sent) == 3
        assert 0.25 <= naps[0] <= 0.5 <= naps[1] <= 1.0

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
    def test_what_will_not_pass_is_not(self, service, status):
        client, sent = service(lambda _: problem(status, "x"))
        with pytest.raises(ApiError):
            client.jobs.get("job_1")
        assert len(sent) == 1

    def test_a_twin_still_being_answered_is_waited_for(self, service, naps):
        busy = problem(409, "idempotency_in_progress", {"retry-after": "1"})
        client, sent = service([busy, ok(job())])
        client.jobs.create(REQUEST)
        assert (len(sent), naps) == (2, [1.0])

    @pytest.mark.parametrize(("seconds", "requests"), [("60", 2), ("61", 1)])
    def test_nobody_waits_for_the_next_month(self, service, seconds, requests):
        full = problem(429, "quota_exceeded", {"retry-after": seconds})
        client, sent = service([full, problem(404, "not_found")])
        with pytest.raises(QuotaExceeded if requests == 1 else NotFound):
            client.jobs.create(REQUEST)
        assert len(sent) == requests

    def test_in_the_end_the_last_error_counts(self, service):
        client, sent = service(lambda _: problem(503, "overloaded"))
        with pytest.raises(ApiError, match="about overloaded"):
            client.jobs.get("job_1")
        assert len(sent) == 3

    def test_connections_that_fail(self, service):
        client, sent = service([httpx.ConnectError("refused"), httpx.ReadTimeout(""), ok(job())])
        assert client.jobs.get("job_1").id == "job_1"
        client, sent = service(lambda _: httpx.ConnectError("refused"))
        with pytest.raises(ServiceUnreachable, match=r"dcpi\.test.*refused"):
            client.jobs.get("job_1")
        assert len(sent) == 3

    @pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0", 0.0), ("3600", 60.0)])
    def test_retry_after_wins_within_reason(self, header, seconds):
        assert delay_seconds(0, httpx.Response(503, headers={"retry-after": header})) == seconds

    def test_delays_grow_and_stay_bounded(self):
        for attempt in range(20):
            longest = min(8.0, 0.5 * 2**attempt)
            assert longest / 2 <= delay_seconds(attempt) <= longest


class TestSecrets:
    def test_the_key_goes_to_the_service(self, service):
        client, sent = service([ok(job())], api_key="secret")
        client.jobs.get("job_1")
        assert sent[0].headers["authorization"] == "Bearer secret"

    def test_line_ends_of_the_file_it_was_in_are_not_part_of_it(self, service):
        client, sent = service([ok(job())], api_key=" secret\r\n")
        client.jobs.get("job_1")
        assert sent[0].headers["authorization"] == "Bearer secret"

    @pytest.mark.parametrize("wrong", ["sec\rret", "sec ret", "secret\nother", "“secret”"])
    def test_what_is_no_key_is_refused_without_being_quoted(self, wrong):
        with pytest.raises(InvalidInput, match="API key") as refused:
            Client("http://dcpi.test", api_key=wrong)
        assert "sec" not in str(refused.value)

    def test_and_to_no_other_host(self, service):
        def answer(request):
            if request.url.host == "dcpi.test":
                return httpx.Response(307, headers={"location": "http://objects.test/x?sig=1"})
            return ok(job())

        client, sent = service(answer, api_key="secret")
        assert client.jobs.get("job_1").id == "job_1"
        assert [request.url.host for request in sent] == ["dcpi.test", "objects.test"]
        assert "authorization" not in sent[1].headers

    def test_a_write_is_not_carried_elsewhere(self, service):
        moved = httpx.Response(307, headers={"location": "http://evil.test/"})
        client, sent = service(lambda _: moved, api_key="secret")
        with pytest.raises(DcpiError):
            client.jobs.create(REQUEST)
        assert {request.url.host for request in sent} == {"dcpi.test"}


@pytest.mark.parametrize(
    "address", ["", "localhost:8000", "ftp://host", "http://host:80a0", "http://[::1"]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InvalidInput, match="no address of a service"):
        Client(address)


def test_this_machine_is_not_asked_through_a_proxy(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with _one_answer() as address, Client(address, retries=0) as client:
        assert client.jobs.get("job_1").status == "queued"


@contextmanager
def _one_answer() -> Iterator[str]:
    """The address of a service on this machine that shows its only job."""

    class Shown(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(job()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Shown) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_client_does_not_load_the_tensor_stack():
    code = (
        "import sys, dcpi_core.client, dcpi_core.client.resources;"
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'dcpi_core.bundle')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
