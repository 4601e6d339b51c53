"""An open loop: requests arrive when they arrive, whether the earlier ones are answered or not.

A generator that waits for an answer before it asks again asks less of a slow service, and does not
see the waiting it causes. Here every latency counts from the moment at which the request was meant
to be sent, so that waiting for a connection, or for a generator that lags, is part of it.
"""

import asyncio
import itertools
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Send = Callable[[int], Awaitable[str]]
"""Sends request number n and says how it ended: a word that is counted."""


@dataclass
class Tally:
    """Latencies in seconds and outcomes of all arrivals."""

    latencies: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, outcome: str, latency: float) -> None:
        """Count one."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.latencies.append(latency)


def moments(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Arrival times of independent users: a Poisson process of ``rate`` per second."""
    draw = random.Random(seed)
    gaps = (draw.expovariate(rate) for _ in itertools.count())
    return itertools.takewhile(lambda moment: moment < seconds, itertools.accumulate(gaps))


async def arrive(times: Iterator[float], send: Send) -> Tally:
    """Start every request at its time and wait for the last answer."""
    tally, running, began = Tally(), set(), time.perf_counter()

    async def one(number: int, due: float) -> None:
        tally.lags.append(time.perf_counter() - due)
        outcome = await send(number)
        tally.add(outcome, time.perf_counter() - due)

    for number, moment in enumerate(times):
        due = began + moment
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(one(number, due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    tally.seconds = time.perf_counter() - began
    return tally


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99 and max in milliseconds; each is a value that occurred (nearest rank)."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    ranks: dict[str, Any] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    at = {name: ordered[max(0, math.ceil(rank * len(ordered)) - 1)] for name, rank in ranks.items()}
    return {name: round(value * 1000, 2) for name, value in at.items()}
