"""Jobs submitted at a steady rate by independent users, each with an idempotency key."""

import asyncio
import json
import random
import time
import uuid
from collections import deque
from typing import Any

from sqlalchemy import func, select

from app.kit.db import reading
from app.models import Job
from benchmarks.load.arrivals import arrive, moments, quantiles
from benchmarks.load.http import Connection, head
from benchmarks.load.service import Service, spent

KEYS = 50
CONNECTIONS = 64
APART_SECONDS = 0.01
"""Between two new connections. The API's processes share a listening socket: of 64 connections 5 ms
apart each of two took half, of 64 at once one took 49."""
PATIENCE_SECONDS = 30.0
WARM_UP = 40
IDLE_SECONDS = 3.0
"""After which a connection is not used again: the server ends those that are idle for 5 s."""


async def submissions(service: Service, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """Submit, then compare what was accepted with what is in the table."""
    users = Users(service, seed)
    await users.connect()
    await asyncio.gather(*(users.submit(-number) for number in range(1, WARM_UP + 1)))
    users.accepted.clear()
    before, there = service.processor(), _rows(service)
    tally = await arrive(moments(rate, seconds, seed), users.submit)
    cost = spent(before, service.processor(), max(1, len(tally.latencies)))
    users.close()
    rows = _rows(service) - there
    return {
        "offered_per_second": rate,
        "seconds": seconds,
        "submitted": len(tally.latencies),
        "answers": dict(sorted(tally.outcomes.items())),
        "accepted": len(users.accepted),
        "rows": rows,
        "lost": len(users.accepted - _ids(service)),
        "answered_per_second": round(len(tally.latencies) / tally.seconds, 1),
        "latency_ms": quantiles(tally.latencies),
        "generator_lag_ms": quantiles(tally.lags),
        "processor_ms_per_request": cost,
    }


class Users:
    """Many users with a key each, behind a limited number of connections."""

    def __init__(self, service: Service, seed: int) -> None:
        self._service = service
        self._keys = service.keys(KEYS)
        self._draw = random.Random(seed)
        self._free: deque[tuple[float, Connection]] = deque()
        self._places = asyncio.Semaphore(CONNECTIONS)
        self.accepted: set[str] = set()

    async def connect(self) -> None:
        """Open all connections one after the other, as those of a proxy come about."""
        for _ in range(CONNECTIONS):
            self._free.append((time.monotonic(), await self._open()))
            await asyncio.sleep(APART_SECONDS)

    async def submit(self, number: int) -> str:
        """Submit job ``number`` once, with a spec of its own; returns the status or the fault."""
        body = {"dataset": "digits", "fraction": "0.7%", "base_method": "dc", "pi_type": "feature"}
        content = json.dumps(body | {"seed": abs(number), "name": f"load-{number}"}).encode()
        fields = {"Content_Type": "application/json", "Idempotency_Key": str(uuid.uuid4())}
        start = head("POST", "/v1/jobs", self._draw.choice(self._keys), **fields)
        try:
            async with self._places, asyncio.timeout(PATIENCE_SECONDS):
                connection = await self._connection()
                answer = await connection.request(start, content)
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            return type(error).__name__
        self._free.append((time.monotonic(), connection))
        if answer.status == 202:
            self.accepted.add(json.loads(answer.body)["id"])
        return str(answer.status)

    async def _connection(self) -> Connection:
        while self._free:
            since, connection = self._free.popleft()  # that was idle for longest: all are in use
            if time.monotonic() - since < IDLE_SECONDS:
                return connection
            connection.close()
        return await self._open()

    async def _open(self) -> Connection:
        return await Connection.open(self._service.host, self._service.port)

    def close(self) -> None:
        """Close what is open."""
        for _, connection in self._free:
            connection.close()


def _rows(service: Service) -> int:
    with reading(service.sessions) as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def _ids(service: Service) -> set[str]:
    with reading(service.sessions) as session:
        return set(session.scalars(select(Job.id)))
