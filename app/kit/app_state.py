"""What the application holds while it runs, and how endpoints get at it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.kit.broker import Bell
from app.kit.db import SessionFactory, reading, unit_of_work
from app.kit.relay import Relay
from app.kit.storage import Storage
from app.settings import Settings


@dataclass(frozen=True)
class AppState:
    """Connections and settings, made once at start-up."""

    settings: Settings
    engine: Engine
    sessions: SessionFactory
    storage: Storage
    bell: Bell
    relay: Relay


def get_state(request: Request) -> AppState:
    """The state of the application that serves this request."""
    state: AppState = request.app.state.dcpi
    return state


StateDep = Annotated[AppState, Depends(get_state)]


def _session(request: Request, state: StateDep) -> Iterator[Session]:
    if request.method == "GET":
        with reading(state.sessions) as session:
            yield session
        return
    with unit_of_work(state.sessions) as session:
        yield session
    state.relay.wake()


# The transaction is committed before the answer is sent, so that a 202 never lies.
SessionDep = Annotated[Session, Depends(_session, scope="function")]
