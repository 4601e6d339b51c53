"""Downloads: a large file of a bundle, whole and in parts, against plain file servers.

The plain servers are Python's ``http.server`` with ``socket.sendfile``, and nginx where it is
installed. All serve the same bytes from the same directory, take turns, and are read by the same
client, which throws the bytes away: what is compared is the server, not a network or a disk.
"""

import asyncio
import contextlib
import hashlib
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from app.condensed.registration import object_key
from app.kit.clock import now
from app.kit.db import unit_of_work
from app.kit.ids import new_id
from app.models import DEFAULT_TENANT, Condensed, Job
from benchmarks.load.http import Connection, head
from benchmarks.load.processes import processor_seconds
from benchmarks.load.service import Service, free_port

FILE = "data.safetensors"
READ_BYTES = 1 << 20
PARTS = 8
PARALLEL = 4
READY_SECONDS = 10.0


class Server(NamedTuple):
    """Who serves the file, and where."""

    port: int
    path: str
    pid: int


async def downloads(service: Service, megabytes: int, transfers: int, seed: int) -> dict[str, Any]:
    """Bytes per second from each server; the median of the transfers, and all of them."""
    key = service.keys(1)[0]
    draw = random.Random(seed)
    content = b"".join(draw.randbytes(1 << 20) for _ in range(megabytes))  # 256 at once overflow
    path, file = _bundle(service, content)
    digest = await _digest(service, path, key)
    with contextlib.ExitStack() as opened:
        servers = {"dcpi": Server(service.port, path, service.api)}
        servers["http.server"] = opened.enter_context(_python_server(file.parent))
        if shutil.which("nginx") is not None:
            servers["nginx"] = opened.enter_context(_nginx(file.parent))
        spent = dict.fromkeys(servers, 0.0)
        rates: dict[str, dict[str, list[float]]] = {name: {} for name in servers}
        for _ in range(transfers):
            for name, server in servers.items():
                before = processor_seconds(server.pid)
                found = await _transfers(server.port, server.path, key, len(content))
                spent[name] += processor_seconds(server.pid) - before
                for way, took in found.items():
                    rate = len(content) * (PARALLEL if way == "parallel" else 1) / took / 2**20
                    rates[name].setdefault(way, []).append(round(rate, 1))
    ways = ("whole", "ranges", "parallel")
    medians = {
        name: {way: statistics.median(found[way]) for way in ways} for name, found in rates.items()
    }
    return {
        "file_mib": megabytes,
        "sha256_agrees": digest == hashlib.sha256(content).hexdigest(),
        "mib_per_second": medians,
        "share_of": {
            name: {way: round(medians["dcpi"][way] / medians[name][way], 3) for way in ways}
            for name in medians
            if name != "dcpi"
        },
        "processor_ms_per_mib": {
            name: round(seconds * 1000 / (transfers * (2 + PARALLEL) * megabytes), 3)
            for name, seconds in spent.items()
        },
        "runs": rates,
    }


async def _transfers(port: int, path: str, key: str, size: int) -> dict[str, float]:
    """Seconds for the file whole, in eight ranges one after the other, and four times at once."""
    found = {}
    began = time.perf_counter()
    await asyncio.to_thread(_fetch, port, path, key, size)
    found["whole"] = time.perf_counter() - began
    began = time.perf_counter()
    for number in range(PARTS):
        first, last = size * number // PARTS, size * (number + 1) // PARTS - 1
        await asyncio.to_thread(
            _fetch, port, path, key, last - first + 1, Range=f"bytes={first}-{last}"
        )
    found["ranges"] = time.perf_counter() - began
    began = time.perf_counter()
    await asyncio.gather(
        *(asyncio.to_thread(_fetch, port, path, key, size) for _ in range(PARALLEL))
    )
    found["parallel"] = time.perf_counter() - began
    return found


def _fetch(port: int, path: str, key: str, size: int, **fields: str) -> None:
    """Read an answer of ``size`` bytes into one buffer, again and again: nothing costs less."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        start = head("GET", path, key, Connection="close", **fields)
        connection.sendall(f"{start}\r\n".encode())
        first, buffer = b"", bytearray(READ_BYTES)
        while b"\r\n\r\n" not in first:
            first += connection.recv(4096)
        lines, _, rest = first.partition(b"\r\n\r\n")
        status, left = int(lines.split()[1]), size - len(rest)
        assert status == (206 if "Range" in fields else 200), lines.decode()
        while count := connection.recv_into(buffer):
            left -= count
        assert left == 0, f"{path}: {left} bytes are missing"


async def _digest(service: Service, path: str, key: str) -> str:
    async with await Connection.open(service.host, service.port) as connection:
        answer = await connection.request(head("GET", path, key))
    return hashlib.sha256(answer.body).hexdigest()


def _bundle(service: Service, content: bytes) -> tuple[str, Path]:
    """A condensed dataset of one file, as a worker leaves it; its path in the API and on disk."""
    job_id, condensed_id, moment = new_id("job"), new_id("cds"), now()
    facts: dict[str, Any] = {
        "tenant_id": DEFAULT_TENANT,
        "dataset": "digits",
        "base_method": "random",
        "pi_types": "none",
        "images_per_class": 1,
        "created_at": moment,
    }
    made = {"path": FILE, "bytes": len(content), "media_type": "application/octet-stream"}
    made["sha256"] = hashlib.sha256(content).hexdigest()
    none = {name: {} for name in ("manifest", "report", "headline")}
    job = {"request": {}, "spec": {}, "spec_digest": "", "estimate": {}, "queue": "gpu"}
    with unit_of_work(service.sessions) as session:
        session.add(Job(id=job_id, status="succeeded", queued_at=moment, **facts, **job))
        session.flush()
        row = facts | none | {"top1": 0.5, "bytes_total": len(content), "code_version": ""}
        session.add(Condensed(id=condensed_id, job_id=job_id, files=[made], **row))
    file = Path(service.settings.resolved_storage_url) / object_key(condensed_id, FILE)
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    return f"/v1/condensed/{condensed_id}/files/{FILE}", file


@contextlib.contextmanager
def _python_server(folder: Path) -> Iterator[Server]:
    """``http.server`` with sendfile and single ranges, in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.load.plain_server", str(folder), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield Server(port, f"/{FILE}", process.pid)
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _nginx(folder: Path) -> Iterator[Server]:
    port, own = free_port(), folder.parent / "nginx"
    own.mkdir()
    own.chmod(0o755)
    config = own / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(
        f"{user} daemon off; worker_processes 1; pid {own}/pid; error_log {own}/error.log;\n"
        "events { worker_connections 64; }\n"
        f"http {{ sendfile on; tcp_nopush on; access_log off; client_body_temp_path {own}/body;\n"
        f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n",
        encoding="utf-8",
    )
    process = subprocess.Popen(["nginx", "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield Server(port, f"/{FILE}", process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
