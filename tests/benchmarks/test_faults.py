"""The fault campaign's own parts: its schedule, its proxy, and that its checks can fail."""

import http.server
import threading
import time
from collections import Counter
from dataclasses import replace

import httpx
import pytest

from benchmarks.faults import proxy, work
from benchmarks.faults.invariants import Bundle, Evidence, JobRecord, violations
from benchmarks.faults.kinds import KINDS
from benchmarks.faults.proxy import Mode, Proxy
from benchmarks.faults.schedule import draw, lanes

LANES = {name: kind.lane for name, kind in KINDS.items()}


def test_the_schedule_is_a_function_of_the_seed():
    assert draw(list(KINDS), 0, 200) == draw(list(KINDS), 0, 200)
    assert draw(list(KINDS), 0, 200) != draw(list(KINDS), 1, 200)


def test_every_kind_comes_as_often_as_the_others():
    counts = Counter(fault.kind for fault in draw(list(KINDS), 0, 200))
    assert counts.keys() == KINDS.keys()
    assert max(counts.values()) - min(counts.values()) <= 1


def test_lanes_keep_the_order_and_lose_nothing():
    faults = draw(list(KINDS), 0, 50)
    found = lanes(faults, LANES)
    assert sorted(fault.number for lane in found.values() for fault in lane) == list(range(50))
    for name, lane in found.items():
        assert [fault.number for fault in lane] == sorted(fault.number for fault in lane)
        assert {LANES[fault.kind] for fault in lane} == {name}


def test_every_job_of_a_campaign_resolves_and_is_its_own():
    digests = {work.spec_of(work.request(seed, n)).digest() for seed in (0, 1) for n in range(20)}
    assert len(digests) == 40


TOLD = ("queued", "running", "succeeded")
RECORD = JobRecord("job_1", 0, "succeeded", TOLD, ("cds_1",), 1)
GOOD = Evidence(
    accepted={0: "job_1"},
    jobs=(RECORD,),
    bundles=(Bundle(0, (), "aa"),),
    files={"cds_1": ("report.json",)},
    objects=("condensed/cds_1/report.json",),
    expected={0: "aa"},
)


def planted(**changes) -> Evidence:
    return replace(GOOD, jobs=(replace(RECORD, **changes),))


def test_good_evidence_violates_nothing():
    assert set(map(tuple, violations(GOOD).values())) == {()}


@pytest.mark.parametrize(
    ("invariant", "evidence"),
    [
        ("one_terminal_state", planted(status="running", told=("queued", "running"))),
        ("one_terminal_state", planted(told=(*TOLD, "queued", "running", "succeeded"))),
        ("one_terminal_state", planted(told=(*TOLD, "running"))),
        ("one_terminal_state", replace(GOOD, jobs=())),
        ("one_terminal_state", replace(GOOD, accepted={})),
        ("one_terminal_state", replace(GOOD, accepted={0: "job_1", 1: "job_1"})),
        ("one_success", planted(successes=2)),
        ("one_success", planted(results=("cds_1", "cds_2"))),
        ("one_success", planted(status="crashed")),
        ("bundles_verify", replace(GOOD, bundles=())),
        ("bundles_verify", replace(GOOD, bundles=(Bundle(0, ("a sum is wrong",), "aa"),))),
        ("no_orphans", replace(GOOD, objects=())),
        ("no_orphans", replace(GOOD, objects=(*GOOD.objects, "condensed/cds_2/report.json"))),
        ("no_orphans", replace(GOOD, objects=(*GOOD.objects, "checkpoints/job_1/c.safetensors"))),
        ("same_bits", replace(GOOD, bundles=(Bundle(0, (), "ab"),))),
        ("same_bits", replace(GOOD, expected={})),
    ],
)
def test_a_planted_violation_is_found(invariant, evidence):
    assert violations(evidence)[invariant]


class Counting(http.server.BaseHTTPRequestHandler):
    """Answers every GET and counts them."""

    seen: list[str]

    def do_GET(self):
        self.seen.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        """Keep quiet."""


@pytest.fixture
def behind():
    """A proxy before a server, and the requests that the server saw."""
    seen: list[str] = []
    handler = type("Handler", (Counting,), {"seen": seen})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    between = Proxy(server.server_port)
    yield between, seen
    between.close()
    server.shutdown()
    thread.join()
    server.server_close()


def get(between: Proxy) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{between.port}/", timeout=5, trust_env=False)


def test_the_proxy_passes_on(behind):
    between, seen = behind
    assert (get(between).text, len(seen)) == ("ok", 1)


def test_the_proxy_refuses_without_telling_the_server(behind):
    between, seen = behind
    between.mode = Mode.REFUSE
    assert (get(between).status_code, seen) == (503, [])


@pytest.mark.parametrize(("mode", "arrived"), [(Mode.DROP, 0), (Mode.SWALLOW, 1)])
def test_the_proxy_breaks_connections_before_or_after(behind, mode, arrived):
    between, seen = behind
    between.mode = mode
    with pytest.raises(httpx.TransportError):
        get(between)
    assert len(seen) == arrived
    between.mode = Mode.PASS
    assert get(between).text == "ok"


def test_the_proxy_is_slow(behind, monkeypatch):
    monkeypatch.setattr(proxy, "DELAY_SECONDS", 0.2)
    between, _ = behind
    between.mode = Mode.DELAY
    began = time.monotonic()
    assert get(between).text == "ok"
    assert time.monotonic() - began >= 0.2
