"""The whole service on real servers, in a temporary folder, on free ports."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.kit.broker import Bell
from app.kit.clock import now
from app.kit.db import build_engine, build_sessions, reading, unit_of_work
from app.kit.storage import Storage, open_storage
from app.migrate import upgrade
from app.models import Job
from app.settings import Settings
from benchmarks.faults.processes import Member, Members, children_of, lease_of
from benchmarks.faults.proxy import Proxy
from benchmarks.faults.servers import Broker, Database
from dcpi_core.client import Client
from tests.servers import BUCKET, KEY_ID, SECRET, free_port, seaweed, wait_until

SETTINGS = {
    "lease_seconds": "5",
    "heartbeat_seconds": "1",
    "republish_seconds": "5",
    "retry_seconds": "0.5",
    "max_attempts": "1000",
    "requests_per_minute": "0",
}
"""Shorter waits than by default, for a shorter campaign; and more attempts, since it breaks a job
more often within a minute than machines do within a year."""
WORKER = ["--pool=threads", "--concurrency=1", "--queues=gpu"]
CLIENT_RETRIES = 60

Found = TypeVar("Found")


@dataclass
class Stack:
    """Servers, processes, and the campaign's own ways to look at them and to break them."""

    database: Database
    broker: Broker
    proxy: Proxy
    objects: Storage
    settings: Settings
    address: str
    members: Members
    api: Member
    workers: list[Member]
    engine: Engine

    def client(self) -> Client:
        """One that puts up with an API that is away for minutes."""
        return Client(self.address, retries=CLIENT_RETRIES)

    def ready(self, part: str) -> bool:
        """Whether the API says that it reaches this part."""
        try:
            answer = httpx.get(f"{self.address}/readyz", timeout=10).json()
        except (httpx.HTTPError, ValueError):
            return False
        return bool(answer[part] == "ok")

    def alive(self) -> bool:
        """Whether the API answers."""
        try:
            return httpx.get(f"{self.address}/healthz", timeout=10).is_success
        except httpx.HTTPError:
            return False

    def look(self, query: Callable[[Session], Found]) -> Found:
        """Read from the database; raises DBAPIError while it is away."""
        with reading(build_sessions(self.engine)) as session:
            return query(session)

    def change(self, act: Callable[[Session], Found]) -> Found:
        """Write to the database; raises DBAPIError while it is away."""
        with unit_of_work(build_sessions(self.engine)) as session:
            return act(session)

    def lost(self, token: str) -> bool:
        """Whether this lease is over; False while nobody can tell."""
        try:
            holder = self.look(
                lambda session: session.scalar(select(Job.id).where(Job.lease_token == token))
            )
        except DBAPIError:
            return False
        return holder is None

    def overdue(self, token: str) -> bool:
        """Whether a job is held under this lease although it has run out; True if nobody can tell.

        By the time of this machine.
        """
        held = select(Job.lease_expires_at).where(Job.lease_token == token)
        try:
            ends = self.look(lambda session: session.scalar(held))
        except DBAPIError:
            return True
        return ends is not None and ends < now()

    def busy(self) -> list[tuple[Member, int, str]]:
        """Workers that run a child: the worker, the child's process id, the lease."""
        found = []
        for worker in self.workers:
            token = lease_of(worker.pid)
            children = children_of(worker.pid)
            if token is not None and children:
                found.append((worker, children[0], token))
        return found

    def bell(self) -> Bell:
        """Sends messages as the outbox does."""
        return Bell(self.broker.url)


@contextlib.contextmanager
def running(folder: Path, workers: int) -> Iterator[Stack]:
    """The service, from its start to its end; logs and data stay in the folder."""
    for name in ("postgres", "valkey", "s3", "logs"):
        (folder / name).mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        database = Database(folder / "postgres")
        stack.callback(database.end)
        broker = Broker(folder / "valkey")
        stack.callback(broker.stop)
        broker.start()
        s3_port = stack.enter_context(seaweed(folder / "s3"))
        proxy = Proxy(s3_port)
        stack.callback(proxy.close)
        settings = _settings(folder, database, broker, proxy.port)
        upgrade(settings.resolved_database_url)
        engine = build_engine(settings.resolved_database_url)
        stack.callback(engine.dispose)
        members = Members(folder / "logs", _environment(settings))
        stack.callback(members.end)
        port = free_port()
        api = members.add("api", "uvicorn", "app.main:create_app", "--factory", f"--port={port}")
        direct = settings.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{s3_port}"})
        service = Stack(
            database=database,
            broker=broker,
            proxy=proxy,
            objects=open_storage(direct),
            settings=settings,
            address=f"http://127.0.0.1:{port}",
            members=members,
            api=api,
            workers=[_add_worker(members, f"worker-{number}") for number in range(workers)],
            engine=engine,
        )
        wait_until(service.alive, "the API")
        for worker in service.workers:
            wait_until(lambda worker=worker: worker.is_ready("ready."), worker.name)
        yield service


def _settings(folder: Path, database: Database, broker: Broker, s3_port: int) -> Settings:
    values = SETTINGS | {
        "home": str(folder / "home"),
        "data_root": str(folder / "no-data"),
        "database_url": database.url,
        "broker_url": broker.url,
        "storage_url": f"s3://{BUCKET}",
        "s3_endpoint": f"http://127.0.0.1:{s3_port}",
        "s3_access_key_id": KEY_ID,
        "s3_secret_access_key": SECRET,
    }
    return Settings(**values)


def _environment(settings: Settings) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DCPI_")}
    given = settings.model_dump(exclude_unset=True)
    given["s3_secret_access_key"] = SECRET
    own = {f"DCPI_{name.upper()}": str(value) for name, value in given.items()}
    one_thread = {"OMP_NUM_THREADS": "1"}  # the same for all, for the sake of equal bits
    return clean | one_thread | own


def _add_worker(members: Members, name: str) -> Member:
    return members.add(
        name, "celery", "--app=worker.celery_app", "worker", *WORKER, f"--hostname={name}@faults"
    )
