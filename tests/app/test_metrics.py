"""What Prometheus scrapes, and what the log says."""

import json
import logging
import os
import re
import subprocess
import sys

import httpx
import pytest

from app.jobs import leases
from app.kit import logs
from app.kit.db import unit_of_work
from app.kit.exposition import Metric, Sample, render
from app.kit.watching import Requests
from tests.app.conftest import FOUR_WORDS

LINE = re.compile(r'^dcpi_(\w+)((?:\{(?:\w+="(?:[^"\\]|\\.)*",?)+\})?) (\S+)$')


def scrape(client) -> dict[str, float]:
    """Every sample by its name and labels; a line of any other form is an error."""
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {}
    for line in response.text.splitlines():
        if line.startswith(("# HELP dcpi_", "# TYPE dcpi_")):
            continue
        name, labels, value = LINE.fullmatch(line).groups()
        found[name + labels] = float(value)
    return found


def test_jobs_and_queues_are_counted(client, state):
    jobs = [client.post("/v1/jobs", json=FOUR_WORDS | {"seed": seed}).json() for seed in range(3)]
    client.post(jobs[2]["urls"]["cancel"])
    with unit_of_work(state.sessions) as session:
        lease = leases.claim(session, jobs[0]["id"], "worker", 60)
        leases.release(session, lease, max_attempts=1, reason="was lost", code="worker_lost")
    found = scrape(client)
    assert found['jobs{status="queued"}'] == found['queue_depth{queue="gpu"}'] == 1
    assert found['jobs{status="cancelled"}'] == found['jobs{status="crashed"}'] == 1
    assert found['jobs{status="running"}'] == 0, "a state without jobs is there, and is zero"
    assert found['attempts{outcome="crashed",code="worker_lost"}'] == 1
    assert 0 <= found['queue_oldest_seconds{queue="gpu"}'] < 600
    assert found["outbox_waiting"] == 3


def test_requests_are_counted_by_route_not_by_path(client, job_id):
    for path in (f"/v1/jobs/{job_id}", "/v1/jobs/job_" + "0" * 26, "/no/such/path"):
        client.get(path)
    found = scrape(client)
    route = 'route="/v1/jobs/{job_id}"'
    assert found[f'http_requests_total{{method="GET",{route},status="200"}}'] == 1
    assert found[f'http_requests_total{{method="GET",{route},status="404"}}'] == 1
    assert found['http_requests_total{method="GET",route="unknown",status="404"}'] == 1
    assert not [name for name in found if job_id in name]


@pytest.mark.parametrize("value", [1234567, 16777217, 1234567.125, 0.1, 1e300])
def test_a_value_keeps_all_its_digits(value):
    (*_, line) = render([Metric("bytes", "gauge", "Help.", [Sample(value)])]).splitlines()
    assert float(line.split()[-1]) == value


def test_a_histogram_adds_up():
    requests = Requests()
    for seconds in (0.001, 0.2, 0.2, 1000.0):
        requests.add("GET", "/r", 200, seconds)
    text = render(requests.metrics())
    buckets = [int(count) for count in re.findall(r"_bucket\S+ (\d+)", text)]
    assert buckets == sorted(buckets)
    assert (buckets[0], buckets[-1]) == (1, 4)
    assert 'dcpi_http_request_seconds_bucket{route="/r",le="+Inf"} 4' in text
    assert 'dcpi_http_request_seconds_count{route="/r"} 4' in text
    assert 'dcpi_http_request_seconds_sum{route="/r"} 1000.4' in text


def test_labels_are_escaped():
    text = render([Metric("m", "gauge", "h", [Sample(1, {"l": 'a"b\\c\nd'})])])
    assert text.splitlines()[-1] == 'dcpi_m{l="a\\"b\\\\c\\nd"} 1'


@pytest.fixture
def log_as(capsys):
    """Log in a format; what is returned gives the lines that were logged since."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level)

    def begin(kind):
        logs.configure(kind)
        return lambda: capsys.readouterr().err.splitlines()

    yield begin
    root.handlers, root.level = before


@pytest.fixture
def said(log_as):
    """Everything logged, as JSON objects."""
    lines = log_as("json")
    return lambda: [json.loads(line) for line in lines()]


def test_records_carry_the_request_and_the_job(client, said):
    headers = {"X-Request-Id": "req-of-mine"}
    job_id = client.post("/v1/jobs", json=FOUR_WORDS, headers=headers).json()["id"]
    lines = [line for line in said() if line.get("request_id") == "req-of-mine"]
    assert {line["logger"] for line in lines} == {"app.jobs.submission", "app.kit.watching"}
    assert [line["job_id"] for line in lines if "job_id" in line] == [job_id]
    assert lines[-1]["message"] == "POST /v1/jobs 202"


def test_a_record_is_one_line_whatever_is_in_it(said):
    with logs.bound(job_id="job_1"), logs.bound(attempt=2):
        try:
            raise ValueError("a\nb")
        except ValueError:
            logging.getLogger("here").exception("two\nlines")
    (line,) = said()
    assert (line["message"], line["job_id"], line["attempt"]) == ("two\nlines", "job_1", 2)
    assert "ValueError" in line["traceback"]
    assert line["level"] == "error"


@pytest.mark.parametrize("end", ["%0A", "%0D", "%0B", "%C2%85", "%E2%80%A8"])
def test_nobody_writes_lines_of_their_own_into_the_log(client, log_as, end):
    lines = log_as("text")
    forged = "2026-01-01 00:00:00,000 WARNING app.access: no key is needed now"
    assert client.get(f"/x{end}{forged}%1B[2K").status_code == 404
    (line,) = [line for line in lines() if "app.kit.watching" in line]
    assert " INFO app.kit.watching: GET /x\\" in line
    assert line.endswith(forged + "\\x1b[2K 404")


def test_the_server_logs_as_the_application_does(tmp_path):
    """From its first line to its last, and nothing twice."""
    home = {"DCPI_HOME": str(tmp_path), "DCPI_BROKER_URL": "redis://127.0.0.1:1/0"}
    command = [sys.executable, "-m", "uvicorn", "app.main:create_app", "--factory", "--port=0"]
    with subprocess.Popen(
        command,
        env=os.environ | home | {"DCPI_LOG_FORMAT": "json"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        said = []
        for line in server.stderr:
            said.append(json.loads(line))
            found = re.search(r"running on (http://\S+)", said[-1]["message"])
            if found:
                assert httpx.get(f"{found[1]}/healthz", trust_env=False).status_code == 200
                server.terminate()
        assert server.stdout.read() == ""
    assert said[0]["message"].startswith("Started server process")
    assert said[-1]["message"].startswith("Finished server process")
    assert sum("/healthz" in line["message"] for line in said) <= 1


def test_a_traceback_cannot_pass_for_a_record(log_as):
    lines = log_as("text")
    try:
        raise ValueError("a\n2026-01-01 forged\r2026-01-01 forged too")
    except ValueError:
        logging.getLogger("here").exception("it broke")
    first, *traceback = lines()
    assert first.endswith(" ERROR here: it broke")
    assert "  2026-01-01 forged\\r2026-01-01 forged too" in traceback
    assert all(line.startswith("  ") for line in traceback)
