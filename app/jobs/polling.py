"""Long polling, for clients that do not use event streams."""

import time
from functools import partial

from app.jobs import service
from app.jobs.schemas import JobRead
from app.jobs.states import TERMINAL
from app.jobs.tail import Tail
from app.kit import app_state
from app.kit.app_state import AppState
from app.kit.slots import NoSlot

LONGEST_SECONDS = 60
"""Proxies close a connection on which nothing is said for about so long."""


async def look(
    state: AppState, tail: Tail, job_id: str, wait_seconds: float, key_id: str | None = None
) -> JobRead:
    """The job as soon as it has ended, or as it is after so many seconds; raises NotFound.

    Who waits holds one of the process's slots for streams, and one of those of the API key if
    there is one, but no connection to the database. If there is no slot, the answer comes at once.
    """
    deadline = time.monotonic() + wait_seconds
    read = partial(service.get, job_id=job_id)
    job = await app_state.look(state, read)
    if job.status in TERMINAL or wait_seconds == 0:
        return job
    try:
        with state.streams.one(key_id), tail.watching(job_id) as watch:
            while not (watch.ended or watch.gone) and (left := deadline - time.monotonic()) > 0:
                await watch.change(left)
    except NoSlot:
        return job
    return await app_state.look(state, read)
