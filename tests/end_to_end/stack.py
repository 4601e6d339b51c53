"""The service as separate processes: an API, any number of workers, and what they leave behind."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from app.jobs.checkpoints import key_of
from app.kit.storage import open_storage
from app.migrate import upgrade
from app.settings import Settings
from dcpi_core.client import Client
from dcpi_core.client.models import Job
from tests.servers import free_port
from worker.watchdog import signal_group

TAG = "DCPI_TEST_TAG"
TINY = {
    "cache": "ignore",
    "dataset": "digits",
    "images_per_class": 1,
    "base_method": "dc",
    "pi_type": "feature",
    "options": {
        "base": {"iterations": 3, "real_batch": 20},
        "pi": {"feature": {"teacher_epochs": 1, "teacher_min_steps": 0}},
        "evaluation": {"repeats": 2, "epochs": 3},
    },
}
TINIEST = {
    "cache": "ignore",
    "dataset": "digits",
    "images_per_class": 1,
    "base_method": "random",
    "pi_type": "none",
    "options": {"evaluation": {"repeats": 1, "epochs": 1}},
}


def with_iterations(count: int) -> dict:
    base = TINY["options"]["base"] | {"iterations": count}
    return TINY | {"options": TINY["options"] | {"base": base}}


def until(happened: Callable[[], object], what: str, seconds: float = 60.0) -> float:
    """Wait for it; returns the seconds it took."""
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - began


class Processes:
    """Whatever a test starts carries a tag in its environment, and so does whatever that starts."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.tag = uuid.uuid4().hex
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DCPI_")}
        one_thread = {"OMP_NUM_THREADS": "1"}  # the same for all, for the sake of equal bits
        # Downloads fail at once, whatever network there is.
        offline = {"https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
        self.environment = clean | one_thread | offline | environment | {TAG: self.tag}
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *module: str) -> subprocess.Popen[bytes]:
        """``python -m module`` in a session of its own, its output in a file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *module],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def alive(self, word: str = "") -> list[int]:
        """Processes with our tag whose command line contains the word."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                tagged = f"{TAG}={self.tag}".encode() in (path / "environ").read_bytes()
                if tagged and word.encode() in (path / "cmdline").read_bytes():
                    found.append(int(path.name))
            except (OSError, PermissionError):
                continue  # ended meanwhile, or not ours
        return found

    def end(self) -> None:
        """Ask all to end; nothing may be left of them."""
        for process in self._started:
            signal_group(process.pid, signal.SIGTERM)
        for process in self._started:
            process.wait(timeout=30)
        until(lambda: not self.alive(), "the end of all processes", 10)


class Stack(Processes):
    """An API and workers over the servers that the environment names."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        fast = {"lease_seconds": "4", "heartbeat_seconds": "0.5", "retry_seconds": "0"}
        home = {"home": str(folder / "home"), "data_root": str(folder / "no-data")}
        values = home | fast | settings
        environment = {f"DCPI_{name.upper()}": value for name, value in values.items()}
        super().__init__(folder / "logs", environment)
        self.settings = Settings(**values)
        self.address = f"http://127.0.0.1:{free_port()}"
        self._workers: list[subprocess.Popen[bytes]] = []

    def open(self) -> None:
        upgrade(self.settings.resolved_database_url)
        port = self.address.rpartition(":")[2]
        self.start("api", "uvicorn", "app.main:create_app", "--factory", f"--port={port}")
        until(self._answers, "the API")

    def use_workers(self, count: int) -> list[subprocess.Popen[bytes]]:
        """Exactly so many workers that wait for work; those that are there are kept."""
        alive = [worker for worker in self._workers if worker.poll() is None]
        for worker in alive[count:]:
            worker.terminate()
            worker.wait(timeout=30)
        return alive[:count] + [self.add_worker() for _ in range(count - len(alive))]

    def add_worker(self) -> subprocess.Popen[bytes]:
        """One more worker, ready for work."""
        name = f"worker-{len(self._workers)}"
        options = ["--pool=threads", "--concurrency=1", "--queues=gpu", f"--hostname={name}@test"]
        process = self.start(name, "celery", "--app=worker.celery_app", "worker", *options)
        self._workers.append(process)
        until(lambda: "ready." in self.log(name), name)
        return process

    def worker_logs(self) -> list[str]:
        return [self.log(f"worker-{number}") for number in range(len(self._workers))]

    def client(self) -> Client:
        return Client(self.address)

    def checkpoint_step(self, job_id: str) -> tuple[str, int]:
        """Phase and step of the stored checkpoint; ("", 0) if there is none."""
        storage = open_storage(self.settings)
        key = key_of(job_id)
        if not storage.exists(key):
            return "", 0
        content = b"".join(storage.read(key))
        (length,) = struct.unpack("<Q", content[:8])
        state = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["state"])
        return state["phase"], state["step"]

    def _answers(self) -> bool:
        import httpx

        try:
            return httpx.get(f"{self.address}/readyz").status_code == 200
        except httpx.TransportError:
            return False


def statuses(client: Client, job_id: str) -> list[str]:
    return [event.data["status"] for event in client.jobs.events(job_id) if event.type == "status"]


def steps(client: Client, job_id: str, phase: str) -> list[int]:
    found: Iterator = client.jobs.events(job_id)
    return [e.data["step"] for e in found if e.type == "progress" and e.data["phase"] == phase]


def succeeded(client: Client, job: Job, seconds: float = 90.0) -> Job:
    job = client.jobs.wait(job.id, timeout=seconds)
    assert job.status == "succeeded", job.error
    assert job.result is not None
    return job
