"""What is new in the jobs that streams of this process follow: one look for all of them.

Streams wait in the event loop and hold neither a thread nor a connection. Twice a second one thread
asks how far their jobs are, reads the events that are new, and the streams of a job share them.
"""

import asyncio
import itertools
import json
import logging
from collections import Counter, deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from fastapi.sse import format_sse_event

from app.access import repository as keys
from app.jobs import repository
from app.jobs.events import events_at
from app.jobs.schemas import read_event
from app.jobs.states import TERMINAL, Status
from app.kit.clock import now
from app.kit.db import SessionFactory, reading
from app.models import JobEvent

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
KEY_ROUNDS = 4
"""Looks at jobs for each look at keys: a stream outlives its key by two seconds."""
RETRY_MILLISECONDS = 3000
REMEMBERED = 200
"""Events of a job that its streams find here; one that is further behind reads from SQL."""

Numbered = tuple[int, bytes]
"""An event's number and the event as it is sent."""


def format_event(row: JobEvent) -> bytes:
    """A row as a server-sent event; its number is what a client resumes from."""
    data = json.dumps(read_event(row).data)
    return format_sse_event(
        data_str=data, event=row.type, id=str(row.seq), retry=RETRY_MILLISECONDS
    )


class News(NamedTuple):
    """How far a job is, and its events since the last look."""

    last: int
    ended: bool
    events: list[Numbered]


class Watch:
    """One job as its streams see it."""

    def __init__(self) -> None:
        self.listeners = 0
        self.last: int | None = None
        self.ended = False
        self.gone = False
        self._recent: deque[Numbered] = deque(maxlen=REMEMBERED)
        self._changed = asyncio.Event()

    async def change(self, seconds: float) -> bool:
        """Wait for something new; False if there was nothing for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def since(self, after: int) -> list[Numbered] | None:
        """Known events with a number above ``after``; None if SQL has some that are not here."""
        if self.last is None or after >= self.last:
            return []
        if not self._recent or self._recent[0][0] > after + 1:
            return None
        return [event for event in self._recent if event[0] > after]

    def tell(self, news: News | None) -> None:
        """Take in what was found; None: there is no such job any more."""
        if news is None:
            self.gone = True
        else:
            self.last, self.ended = news.last, news.ended
            self._recent.extend(news.events)
        self.wake()

    def wake(self) -> None:
        """Have every stream look at what is here."""
        self._changed.set()
        self._changed = asyncio.Event()


class Tail:
    """The jobs that are followed, and the keys of those who follow them.

    It works while somebody does, in the event loop of those who do.
    """

    def __init__(self, sessions: SessionFactory) -> None:
        self._sessions = sessions
        self._watches: dict[str, Watch] = {}
        self._keys: Counter[str] = Counter()
        self._refused: frozenset[str] = frozenset()
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def watching(self, job_id: str, key_id: str | None = None) -> Iterator[Watch]:
        """Follow a job, on behalf of an API key if there is one."""
        watch = self._watches.setdefault(job_id, Watch())
        watch.listeners += 1
        if key_id is not None:
            self._keys[key_id] += 1
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            yield watch
        finally:
            self._leave(watch, job_id, key_id)

    def _leave(self, watch: Watch, job_id: str, key_id: str | None) -> None:
        watch.listeners -= 1
        if not watch.listeners:
            del self._watches[job_id]
        if key_id is not None:
            self._keys[key_id] -= 1
            self._keys += Counter()  # forget keys that nobody uses
        if not self._watches and self._task is not None:
            self._task.cancel()
            self._task = None

    def refuses(self, key_id: str | None) -> bool:
        """Whether the key was found to have ended."""
        return key_id in self._refused

    async def _run(self) -> None:
        for number in itertools.count():
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self._look()
                if number % KEY_ROUNDS == 0:
                    await self._look_at_keys()
            except Exception as error:  # noqa: BLE001 - streams stay open, the next look may succeed
                logger.warning("event streams wait: %s", error)

    async def _look(self) -> None:
        known = {job_id: watch.last for job_id, watch in self._watches.items()}
        found = await asyncio.to_thread(_news, self._sessions, known)
        for job_id in known:
            watch, news = self._watches.get(job_id), found.get(job_id)
            if watch is None or watch.last != known[job_id]:  # left, or another one's since
                continue
            if news is None or (news.last, news.ended) != (watch.last, watch.ended):
                watch.tell(news)

    async def _look_at_keys(self) -> None:
        if not self._keys:
            return
        self._refused = await asyncio.to_thread(_ended, self._sessions, list(self._keys))
        if self._refused:
            for watch in self._watches.values():
                watch.wake()


def _news(sessions: SessionFactory, known: dict[str, int | None]) -> dict[str, News]:
    with reading(sessions) as session:
        positions = repository.positions(session, known)
        missing = [
            (job_id, number)
            for job_id, last, _ in positions
            if (seen := known[job_id]) is not None
            for number in range(max(seen, last - REMEMBERED) + 1, last + 1)
        ]
        events: dict[str, list[Numbered]] = {}
        for row in events_at(session, missing):
            events.setdefault(row.job_id, []).append((row.seq, format_event(row)))
        return {
            job_id: News(last, Status(status) in TERMINAL, events.get(job_id, []))
            for job_id, last, status in positions
        }


def _ended(sessions: SessionFactory, key_ids: Collection[str]) -> frozenset[str]:
    with reading(sessions) as session:
        return keys.ended(session, key_ids, now())
