"""Workers that compete, stop, are killed and are told to cancel: no job is lost or done twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from app.kit.broker import Bell, Call
from dcpi_core import bundle
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.job import JobSubmission
from dcpi_core.spec.resolve import resolve
from tests.end_to_end.stack import TINIEST, statuses, steps, succeeded, until, with_iterations

REFERENCE = """
import pathlib, sys
from dcpi_core.pipeline import Workplace, run
from dcpi_core.spec.job import JobSpec
folder = pathlib.Path(sys.argv[1])
spec = JobSpec.model_validate_json(sys.stdin.read())
run(spec, Workplace(folder / "work", folder / "assets"), device="cpu")
"""
STEP_SECONDS = """
import pathlib, sys, time
from dcpi_core.pipeline import Workplace, run
from dcpi_core.spec.job import JobSpec
from dcpi_core.spec.progress import Phase
times = []
def note(progress):
    if progress.phase is Phase.BASE:
        times.append((time.monotonic(), progress.step))
folder = pathlib.Path(sys.argv[1])
run(JobSpec.model_validate_json(sys.stdin.read()), Workplace(folder, folder), progress=note)
(begin, first), (end, last) = times[0], times[-1]
print((end - begin) / (last - first))
"""
BASE_SECONDS = 14.0
"""Of uninterrupted work; a runner writes its checkpoint every five."""


def test_two_workers_never_run_a_job_twice(servers):
    servers.use_workers(2)
    bell = Bell(servers.settings.broker_url)
    with servers.client() as client:
        jobs = [client.jobs.create(TINIEST | {"seed": seed}) for seed in range(3)]
        rings = [job.id for job in jobs] * 4
        random.Random(0).shuffle(rings)
        for job_id in rings:
            bell([Call(job_id, "gpu")])
        for job in jobs:
            done = succeeded(client, job)
            assert done.model_dump()["attempt"] == 1
            assert statuses(client, job.id) == ["queued", "running", "succeeded"]
        produced = [item.model_dump()["job_id"] for item in client.condensed.each()]
        assert sorted(set(produced)) == sorted(produced)
    began = [
        sum(f"{job.id}: attempt 1 begins" in log for job in jobs) for log in servers.worker_logs()
    ]
    assert sorted(began)[-2:] == [1, 2], "both did something"


def test_a_job_moves_from_worker_to_worker_and_ends_with_the_same_bits(servers, tmp_path, capsys):
    """One worker is told to end, the next is killed; the third finishes what they began."""
    iterations = round(BASE_SECONDS / seconds_per_step(servers, tmp_path))
    (stopped,) = servers.use_workers(1)
    with servers.client() as client:
        job = client.jobs.create(with_iterations(iterations))
        reference = run_reference(servers, job, tmp_path)
        until(lambda: len(steps(client, job.id, "base")) > 2, "the first steps")
        killed = servers.add_worker()
        began = time.monotonic()
        stopped.terminate()
        until(lambda: statuses(client, job.id).count("running") == 2, "the next worker", 20)
        handed_over = time.monotonic() - began
        assert stopped.wait(timeout=20) == 0

        phase, reached = servers.checkpoint_step(job.id)
        assert (phase, reached > 0) == ("base", True)
        until(lambda: servers.checkpoint_step(job.id)[1] > reached, "a newer checkpoint", 60)
        servers.add_worker()
        assert steps(client, job.id, "base")[-1] > reached, "nothing was begun again"
        began = time.monotonic()
        (runner,) = servers.alive("worker.runner")
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        orphaned = until(lambda: runner not in servers.alive("worker.runner"), "its child's end", 5)
        until(lambda: statuses(client, job.id).count("running") == 3, "the third worker", 20)
        taken_over = time.monotonic() - began

        done = succeeded(client, job)
        assert done.model_dump()["attempt"] == 2, "only the kill counts"
        told = ["queued", "running", "queued", "running", "queued", "running", "succeeded"]
        assert statuses(client, job.id) == told
        directory = client.condensed.download(done.result.condensed_id, tmp_path / "bundle")
    assert reference.wait(timeout=120) == 0
    whole = tmp_path / "reference" / "work" / "bundle" / "data.safetensors"
    assert (directory / "data.safetensors").read_bytes() == whole.read_bytes()
    assert all(check.passed for check in bundle.verify(directory))
    with capsys.disabled():
        print(
            f"\nhanded over in {handed_over:.1f} s; child ended {orphaned:.1f} s after kill -9; "
            f"taken over in {taken_over:.1f} s with a lease of {servers.settings.lease_seconds} s"
        )


def test_cancelling_a_running_job_takes_less_than_five_seconds(servers, capsys):
    servers.use_workers(1)
    with servers.client() as client:
        job = client.jobs.create(with_iterations(100_000))
        until(lambda: steps(client, job.id, "base"), "the first step")
        began = time.monotonic()
        client.jobs.cancel(job.id)
        until(lambda: client.jobs.get(job.id).status == "cancelled", "the end", 10)
        seconds = time.monotonic() - began
        assert seconds < 5.0
        assert servers.alive("worker.runner") == []
    with capsys.disabled():
        print(f"\ncancelled in {seconds:.1f} s")


def test_a_killed_service_leaves_no_process(embedded):
    os.kill(embedded.head.pid, signal.SIGKILL)
    embedded.head.wait()
    until(lambda: not embedded.alive(), "the end of all processes", 20)


def seconds_per_step(servers, folder: Path) -> float:
    """How fast this machine is just now."""
    facts = load_catalog().datasets["digits"]
    spec = resolve(JobSubmission.model_validate(with_iterations(12)), facts)
    done = subprocess.run(
        [sys.executable, "-c", STEP_SECONDS, str(folder / "speed")],
        env=servers.environment,
        input=spec.model_dump_json(),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def run_reference(servers, job, folder: Path) -> subprocess.Popen[bytes]:
    """The same spec without any service, from beginning to end."""
    spec = job.model_dump()["spec"]
    (folder / "spec.json").write_text(json.dumps(spec))
    with (folder / "spec.json").open("rb") as text:
        return subprocess.Popen(
            [sys.executable, "-c", REFERENCE, str(folder / "reference")],
            env=servers.environment,
            stdin=text,
        )
