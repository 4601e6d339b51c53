"""A job's events as server-sent events, resumable from the last one seen."""

import time
from collections.abc import AsyncIterator
from functools import partial

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from sqlalchemy.orm import Session
from starlette.types import Receive, Scope, Send

from app.jobs import repository
from app.jobs.events import events_after
from app.jobs.schemas import read_job
from app.jobs.service import has_ended
from app.jobs.tail import Numbered, Tail, Watch, format_event
from app.kit.app_state import KEY, AppState, look
from app.kit.problems import answer, of_ours
from app.kit.slots import NoOwnSlot, NoSlot
from dcpi_core.spec.errors import FieldProblem, NotFound, QuotaExceeded

KEEPALIVE_SECONDS = 15.0
LIFETIME_SECONDS = 3600.0  # then the client reconnects, wherever the proxy sends it
BATCH = 200
RETRY_AFTER_SECONDS = 10  # a stream may have ended by then
MEDIA_TYPE = "text/event-stream"


class EventStream(StreamingResponse):
    """Sent while there is a slot for it, in this process and for this key; otherwise refused."""

    def __init__(self, state: AppState, tail: Tail, job_id: str, after: int) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__((), headers=headers, media_type=MEDIA_TYPE)
        self._state, self._tail, self._job_id, self._after = state, tail, job_id, after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key_id = scope.get("state", {}).get(KEY)
        try:
            with (
                self._state.streams.one(key_id),
                self._tail.watching(self._job_id, key_id) as watch,
            ):
                events = stream(self._state, self._job_id, self._after, watch)
                self.body_iterator = _while_valid(events, self._tail, key_id)
                await super().__call__(scope, receive, send)
        except NoOwnSlot:
            refusal = _own_refusal(Request(scope), self._state.streams.each)
            await refusal(scope, receive, send)
        except NoSlot:
            await _refusal(Request(scope))(scope, receive, send)


def _own_refusal(request: Request, most: int) -> Response:
    detail = (
        f"this API key has {most} event streams and requests that wait open here, and may have no "
        "more; close one, or ask for the events as JSON, or try again in "
        f"{RETRY_AFTER_SECONDS} s"
    )
    problem = FieldProblem("", "streams_per_key", detail)
    error = QuotaExceeded(detail, [problem], retry_after_seconds=RETRY_AFTER_SECONDS)
    return of_ours(request, error)


def _refusal(request: Request) -> Response:
    detail = "too many event streams are open here; try again, or ask for the events as JSON"
    response = answer(request, 503, "too_many_streams", detail)
    response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


async def _while_valid(
    events: AsyncIterator[bytes], tail: Tail, key_id: str | None
) -> AsyncIterator[bytes]:
    """Nothing more is sent to a key that has been revoked or has expired."""
    async for event in events:
        if tail.refuses(key_id):
            return
        if event:
            yield event


async def stream(state: AppState, job_id: str, after: int, watch: Watch) -> AsyncIterator[bytes]:
    """Every event after number ``after``, then new ones as they come, then ``end``.

    Whenever the watch changes without an event there is an empty one, for who looks at the stream.
    """
    deadline = time.monotonic() + LIFETIME_SECONDS
    found, ending = await look(state, partial(_look, job_id=job_id, after=after))
    while time.monotonic() < deadline and not watch.gone:
        for number, event in found:
            after = number
            yield event
        if ending is not None:
            yield ending
            return
        if len(found) < BATCH and not watch.ended and watch.since(after) == []:
            yield b"" if await watch.change(KEEPALIVE_SECONDS) else KEEPALIVE_COMMENT
        found, ending = await _newer(state, job_id, after, watch)


async def _newer(
    state: AppState, job_id: str, after: int, watch: Watch
) -> tuple[list[Numbered], bytes | None]:
    """What the watch has of later events, or what the database has where that may be more."""
    known = None if watch.ended else watch.since(after)
    if known is not None:
        return known, None
    try:
        found, ending = await look(state, partial(_look, job_id=job_id, after=after))
    except NotFound:  # deleted
        watch.gone = True
        return [], None
    if not found and ending is None:
        watch.ended = False  # this look is the younger one: the job was begun again
    return found, ending


def _look(session: Session, job_id: str, after: int) -> tuple[list[Numbered], bytes | None]:
    """Events after this number, and the closing event if they are all and the job is over."""
    job = repository.get(session, job_id)
    rows = events_after(session, job_id, after, BATCH)
    found = [(row.seq, format_event(row)) for row in rows]
    if not has_ended(job) or len(rows) == BATCH:
        return found, None
    last = rows[-1].seq if rows else after
    shown = read_job(job).model_dump_json()
    return found, format_sse_event(data_str=shown, event="end", id=str(last))
