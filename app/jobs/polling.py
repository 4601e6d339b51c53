"""Looking at a job once, or until it has ended: for those to whom a stream is too much."""

import asyncio
import time

from anyio import WouldBlock

from app.jobs import service
from app.jobs.schemas import JobRead
from app.jobs.states import TERMINAL
from app.kit.app_state import AppState
from app.kit.db import reading

POLL_SECONDS = 0.5
LONGEST_SECONDS = 60
"""Proxies close a connection on which nothing is said for about so long."""


async def look(state: AppState, job_id: str, wait_seconds: float) -> JobRead:
    """The job as soon as it has ended, or as it is after so many seconds; raises NotFound.

    Who waits holds one of the process's places for streams, and no connection to the database. If
    there is no place, the answer comes at once.
    """
    deadline = time.monotonic() + wait_seconds
    job = await _look(state, job_id)
    if job.status in TERMINAL or wait_seconds == 0:
        return job
    waiting = object()
    try:
        state.streams.acquire_on_behalf_of_nowait(waiting)
    except WouldBlock:
        return job
    try:
        while job.status not in TERMINAL and (left := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(POLL_SECONDS, left))
            job = await _look(state, job_id)
    finally:
        state.streams.release_on_behalf_of(waiting)
    return job


async def _look(state: AppState, job_id: str) -> JobRead:
    async with state.seats:
        return await asyncio.to_thread(_read, state, job_id)


def _read(state: AppState, job_id: str) -> JobRead:
    with reading(state.sessions) as session:
        return service.get(session, job_id)
