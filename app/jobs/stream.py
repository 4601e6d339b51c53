"""A job's events as server-sent events, resumable from the last one seen."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

from anyio import WouldBlock
from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.types import Receive, Scope, Send

from app.jobs import repository
from app.jobs.events import events_after
from app.jobs.schemas import read_event, read_job
from app.jobs.service import has_ended
from app.kit.app_state import AppState
from app.kit.db import reading
from app.kit.problems import answer

POLL_SECONDS = 0.5
KEEPALIVE_SECONDS = 15.0
LIFETIME_SECONDS = 3600.0  # then the client reconnects, wherever the proxy sends it
RETRY_MILLISECONDS = 3000
RETRY_AFTER_SECONDS = 10
BATCH = 200
MEDIA_TYPE = "text/event-stream"


class EventStream(StreamingResponse):
    """Sent while one of the process's places for streams is free, otherwise refused for now."""

    def __init__(self, state: AppState, job_id: str, after: int) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        content = stream(state, job_id, after)
        super().__init__(content, headers=headers, media_type=MEDIA_TYPE)
        self._places = state.streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._places.acquire_on_behalf_of_nowait(self)
        except WouldBlock:
            await _refusal(Request(scope))(scope, receive, send)
            return
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._places.release_on_behalf_of(self)


def _refusal(request: Request) -> Response:
    detail = "too many event streams are open here; try again, or ask for the events as JSON"
    response = answer(request, 503, "too_many_streams", detail)
    response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


async def stream(state: AppState, job_id: str, after: int) -> AsyncIterator[bytes]:
    """Every event after number ``after``, then new ones as they come, then ``end``."""
    began = spoke = time.monotonic()
    while time.monotonic() - began < LIFETIME_SECONDS:
        found, last, ending = await asyncio.to_thread(_look, state, job_id, after)
        after = last
        for event in found:
            yield event
        if ending is not None:
            yield ending
            return
        now = time.monotonic()
        if found:
            spoke = now
        elif now - spoke > KEEPALIVE_SECONDS:
            spoke = now
            yield KEEPALIVE_COMMENT
        if len(found) < BATCH:
            await asyncio.sleep(POLL_SECONDS)


def _look(state: AppState, job_id: str, after: int) -> tuple[list[bytes], int, bytes | None]:
    """New events, the number of the last one, and the closing event if the job is over."""
    with reading(state.sessions) as session:
        job = repository.get(session, job_id)
        rows = events_after(session, job_id, after, BATCH)
        found = [
            format_sse_event(
                data_str=json.dumps(read_event(row).data),
                event=row.type,
                id=str(row.seq),
                retry=RETRY_MILLISECONDS,
            )
            for row in rows
        ]
        last = rows[-1].seq if rows else after
        if not has_ended(job) or len(rows) == BATCH:
            return found, last, None
        ending = format_sse_event(
            data_str=read_job(job).model_dump_json(), event="end", id=str(last)
        )
        return found, last, ending
