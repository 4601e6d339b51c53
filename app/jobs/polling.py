"""Looking at a job once, or until it has ended: for those to whom a stream is too much."""

import asyncio
import time

from app.jobs import service
from app.jobs.schemas import JobRead
from app.jobs.states import TERMINAL
from app.jobs.tail import Tail
from app.kit.app_state import AppState
from app.kit.db import reading
from app.kit.places import NoPlace

LONGEST_SECONDS = 60
"""Proxies close a connection on which nothing is said for about so long."""


async def look(state: AppState, tail: Tail, job_id: str, wait_seconds: float) -> JobRead:
    """The job as soon as it has ended, or as it is after so many seconds; raises NotFound.

    Who waits holds one of the process's places for streams, and no connection to the database. If
    there is no place, the answer comes at once.
    """
    deadline = time.monotonic() + wait_seconds
    job = await _look(state, job_id)
    if job.status in TERMINAL or wait_seconds == 0:
        return job
    try:
        with state.streams.one(), tail.watching(job_id) as watch:
            while not (watch.ended or watch.gone) and (left := deadline - time.monotonic()) > 0:
                await watch.change(left)
    except NoPlace:
        return job
    return await _look(state, job_id)


async def _look(state: AppState, job_id: str) -> JobRead:
    async with state.seats:
        return await asyncio.to_thread(_read, state, job_id)


def _read(state: AppState, job_id: str) -> JobRead:
    with reading(state.sessions) as session:
        return service.get(session, job_id)
