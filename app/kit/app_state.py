"""What the application holds while it runs, and how endpoints get at it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Annotated, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.kit.broker import Bell
from app.kit.db import SessionFactory, reading, unit_of_work
from app.kit.relay import Relay
from app.kit.slots import Slots
from app.kit.storage import Storage
from app.kit.tenancy import NOBODY, bound
from app.kit.watching import Requests
from app.settings import Settings

Result = TypeVar("Result")

SEATS = 4
"""Requests that may have a session at once. A process has one core: more of them wait for the
interpreter and for each other (under 200 submissions a second p99 was 137 to 587 ms with ten, 104
to 115 with three, 143 with four), fewer would wait for a database that is far away."""
TENANT = "tenant_id"
"""In the state of a request: whose it is; written by the gate."""
KEY = "key_id"
"""There too: by which API key, None where none is needed."""
UPLOADS = 2
"""Uploads that are read and checked at once, each for minutes: others must not want for threads."""
FORMS = 8
"""Uploads that are received, wait or are checked at once: each is on the disk as it arrives, before
anybody knows whether it may be."""
FORMS_EACH = 4
"""Of these, for one tenant."""
FETCHES = 16
"""Requests that ask the storage at once. One that hangs holds as many threads, besides the forty of
all others; what is sent then has its own, see ``app.kit.storage``."""


@dataclass(frozen=True)
class AppState:
    """Connections and settings, made once at start-up.

    ``sessions`` are those of the whole service; a request gets its tenant's in their place.
    """

    settings: Settings
    engine: Engine
    sessions: SessionFactory
    storage: Storage
    bell: Bell
    relay: Relay
    streams: Slots
    seats: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(SEATS))
    requests: Requests = field(default_factory=Requests)
    uploads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(UPLOADS))
    forms: Slots = field(default_factory=lambda: Slots(FORMS, FORMS_EACH))
    fetches: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(FETCHES))


def get_state(request: Request) -> AppState:
    """The state of the application, with sessions that see the rows of the caller's tenant only."""
    state: AppState = request.app.state.dcpi
    tenant_id = getattr(request.state, TENANT, NOBODY)
    return replace(state, sessions=bound(state.sessions, tenant_id))


async def _state(request: Request) -> AppState:
    return get_state(request)  # a plain function would be called in a thread, for nothing


StateDep = Annotated[AppState, Depends(_state)]


async def _seat(state: StateDep) -> AsyncIterator[None]:
    """Wait for a seat in the event loop.

    A request that waited for a connection would hold a thread, and one that has a connection needs
    a thread to go on: without seats, enough of both at once would wait for each other.
    """
    async with state.seats:
        yield


Seat = Annotated[None, Depends(_seat, scope="function")]


def _session(request: Request, state: StateDep, _: Seat) -> Iterator[Session]:
    if request.method in ("GET", "HEAD"):
        with reading(state.sessions) as session:
            yield session
        return
    with unit_of_work(state.sessions) as session:
        yield session
    state.relay.wake()


async def transact(state: AppState, act: Callable[[Session], Result]) -> Result:
    """Act in one transaction, in a thread that is entered once.

    As a ``SessionDep`` gives an operation, whose thread is entered three times: to begin, to act
    and to commit.
    """
    found = await _seated(state, unit_of_work, act)
    state.relay.wake()
    return found


async def look(state: AppState, act: Callable[[Session], Result]) -> Result:
    """As ``transact``, only to look: for what then goes on without the database."""
    return await _seated(state, reading, act)


async def _seated(
    state: AppState,
    begin: Callable[[SessionFactory], AbstractContextManager[Session]],
    act: Callable[[Session], Result],
) -> Result:
    def acted() -> Result:
        with begin(state.sessions) as session:
            return act(session)

    async with state.seats:
        return await to_thread.run_sync(acted)


async def fetch(state: AppState, ask: Callable[[Storage], Result]) -> Result:
    """Ask the storage, in a thread, without a seat: one that hangs holds up only who asks it."""
    return await to_thread.run_sync(ask, state.storage, limiter=state.fetches)


# The transaction is committed before the answer is sent, so that a 202 never lies.
SessionDep = Annotated[Session, Depends(_session, scope="function")]
