"""The generator of the load benchmark: what it offers, and what it counts as waiting."""

import asyncio
import itertools
import os
import statistics
import subprocess
import sys

import pytest

from benchmarks.load.arrivals import arrive, moments, quantiles
from benchmarks.load.processes import family, processor_seconds, resident_bytes


def test_arrivals_are_independent_at_the_given_rate_and_repeatable():
    times = list(moments(200, 60, seed=0))
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(times) == pytest.approx(200 * 60, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(1 / 200, rel=0.05)  # a clock would have 0
    assert times == list(moments(200, 60, seed=0))
    assert times != list(moments(200, 60, seed=1))


def test_waiting_for_a_busy_server_counts_as_latency():
    """Ten requests at once to a server that takes 20 ms for each, one after the other."""
    server = asyncio.Lock()

    async def send(number: int) -> str:
        async with server:
            await asyncio.sleep(0.02)
        return "200" if number else "500"

    tally = asyncio.run(arrive(iter([0.0] * 10), send))
    assert tally.outcomes == {"500": 1, "200": 9}
    waited = sorted(tally.latencies)
    assert all(latency >= 0.02 * (place + 1) for place, latency in enumerate(waited))


def test_quantiles_are_values_that_occurred():
    milliseconds = [n / 1000 for n in range(1, 101)]
    assert quantiles(milliseconds) == {"p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}
    assert quantiles([]) == {}


def test_a_family_is_a_process_and_what_it_started():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    while len(family(child.pid)) < 2:
        assert child.poll() is None
    assert resident_bytes(child.pid) > resident_bytes(os.getpid()) / 1000
    assert processor_seconds(child.pid) < 60
    child.communicate(b"\n", timeout=30)
    assert family(child.pid) == []
