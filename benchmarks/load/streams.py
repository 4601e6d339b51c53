"""Event streams: many open at once, every one of which must get every event, once and in order."""

import asyncio
import contextlib
import json
import time
from typing import Any

from app.jobs.events import LOG, append_event
from app.kit.db import unit_of_work
from benchmarks.load.arrivals import quantiles
from benchmarks.load.http import Connection, head
from benchmarks.load.service import Service, spent

PER_JOB = 5
PER_KEY = 10
AT_ONCE = 20
"""Streams that are opened, and jobs that are submitted, at the same time."""
ROUND_SECONDS = 1.0
QUIET_SECONDS = 5.0
PATIENCE_SECONDS = 20.0


async def streams(service: Service, count: int, rounds: int) -> dict[str, Any]:
    """Open ``count`` streams, five to a job, and have an event written to each job every second.

    Events are written to the database as a worker does, and each carries the time of its commit.
    """
    keys = service.keys(-(-count // PER_KEY))
    places = asyncio.Semaphore(AT_ONCE)
    jobs = await asyncio.gather(
        *(_submit(service, places, keys[n % len(keys)], n) for n in range(-(-count // PER_JOB)))
    )
    memory = {"idle": service.memory()}
    followers = [Follower(service, keys[n // PER_KEY], jobs[n // PER_JOB]) for n in range(count)]
    async with contextlib.AsyncExitStack() as opened:
        for first in range(0, count, AT_ONCE):
            some = followers[first : first + AT_ONCE]
            await asyncio.gather(*(opened.enter_async_context(follower) for follower in some))
        memory["open"] = service.memory()
        before, began = service.processor(), time.perf_counter()
        await asyncio.sleep(QUIET_SECONDS)
        quiet = spent(before, service.processor(), (time.perf_counter() - began))
        before = service.processor()
        for number in range(rounds):
            due = time.monotonic() + ROUND_SECONDS
            await asyncio.to_thread(_publish, service, jobs, number)
            memory["most"] = max(memory.get("most", 0), service.memory())
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await _until(lambda: all(len(f.numbers) == rounds for f in followers))
        cost = spent(before, service.processor(), count * rounds)
    whole = [follower for follower in followers if follower.numbers == list(range(rounds))]
    delays = [delay for follower in followers for delay in follower.delays]
    return {
        "streams": count,
        "opened": sum(follower.status == 200 for follower in followers),
        "jobs": len(jobs),
        "events_published": len(jobs) * rounds,
        "events_expected": count * rounds,
        "events_received": sum(len(follower.numbers) for follower in followers),
        "streams_that_got_all_in_order": len(whole),
        "delay_from_commit_ms": quantiles(delays),
        "api_memory_mib": {name: round(value / 2**20, 1) for name, value in memory.items()},
        "processor_ms_per_delivery": cost,
        "processor_ms_per_quiet_second": quiet,
    }


class Follower:
    """One open stream and what came through it."""

    def __init__(self, service: Service, key: str, job_id: str) -> None:
        self._service, self._key, self._job_id = service, key, job_id
        self.status = 0
        self.numbers: list[int] = []
        self.delays: list[float] = []

    async def __aenter__(self) -> "Follower":
        self._connection = await Connection.open(self._service.host, self._service.port)
        path = f"/v1/jobs/{self._job_id}/events"
        self.status, _ = await self._connection.begin(
            head("GET", path, self._key, Accept="text/event-stream")
        )
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError):
            await self._task
        self._connection.close()

    async def _read(self) -> None:
        while True:
            line = await self._connection.reader.readuntil(b"\n")
            if not line.startswith(b"data: "):
                continue
            data = json.loads(line[6:])
            if "number" in data:
                self.numbers.append(data["number"])
                self.delays.append(time.time() - data["at"])


async def _submit(service: Service, places: asyncio.Semaphore, key: str, number: int) -> str:
    body = {"dataset": "digits", "images_per_class": 1, "base_method": "random", "pi_type": "none"}
    content = json.dumps(body | {"seed": 1_000_000 + number}).encode()
    async with places, await Connection.open(service.host, service.port) as connection:
        start = head("POST", "/v1/jobs", key, Content_Type="application/json", Connection="close")
        answer = await connection.request(start, content)
    return str(json.loads(answer.body)["id"])


def _publish(service: Service, jobs: list[str], number: int) -> None:
    for job_id in jobs:
        with unit_of_work(service.sessions) as session:
            append_event(session, job_id, LOG, {"number": number, "at": time.time()})


async def _until(happened: Any) -> None:
    for _ in range(int(PATIENCE_SECONDS / 0.1)):
        if happened():
            return
        await asyncio.sleep(0.1)
