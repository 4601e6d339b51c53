"""Is the process alive, and can it reach what it needs?"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import Engine, text

logger = logging.getLogger(__name__)

router = APIRouter(tags=["health"])

ANSWER_SECONDS = 3.0
"""For all parts together: whoever asks whether we are ready gives up soon."""


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Each part by name: "ok" or what is wrong."""

    status: Literal["ok", "unavailable"]
    sql: str
    broker: str
    storage: str


class Question:
    """Asks one part whether it answers, in one thread at a time however many want to know.

    A part that hangs thus holds up one thread, made for it, and no answer to anybody.
    """

    def __init__(self, part: str, ask: Callable[[], None]) -> None:
        self._part = part
        self._ask = ask
        self._lock = threading.Lock()
        self._asked: Future[str] | None = None

    def begin(self) -> "Future[str]":
        """What will be "ok" or what is wrong; the one under way if there is one."""
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = Future()
                arguments = (self._asked,)
                threading.Thread(target=self._run, args=arguments, daemon=True).start()
            return self._asked

    def _run(self, answer: "Future[str]") -> None:
        try:
            self._ask()
        except Exception as error:  # noqa: BLE001 - whatever a driver raises: "not reachable"
            logger.warning("%s cannot be reached: %s", self._part, error)
            answer.set_result(f"unreachable ({type(error).__name__})")
        else:
            answer.set_result("ok")


class Readiness:
    """All parts, asked at the same time.

    Args:
        parts: by name, what raises if that part cannot be reached.
    """

    def __init__(self, parts: Mapping[str, Callable[[], None]]) -> None:
        self._questions = {name: Question(name, ask) for name, ask in parts.items()}

    async def ask(self, seconds: float = ANSWER_SECONDS) -> dict[str, str]:
        """Each part by name: "ok" or what is wrong; at the latest after so long.

        Waits in the event loop: this answer depends on no thread that others hold.
        """
        asked = {
            name: asyncio.wrap_future(question.begin())
            for name, question in self._questions.items()
        }
        await asyncio.wait(asked.values(), timeout=seconds)  # which cancels none: others ask too
        silent = f"unreachable (no answer within {seconds:g} s)"
        return {name: one.result() if one.done() else silent for name, one in asked.items()}


def ask_database(engine: Engine) -> None:
    """Raise unless the database answers and has our tables."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1 FROM jobs LIMIT 1"))


@router.get("/healthz", operation_id="healthz", summary="Is the process alive?")
async def healthz() -> Alive:
    """Needs nothing but the process itself."""
    return Alive()


@router.get(
    "/readyz",
    operation_id="readyz",
    response_model=Ready,
    responses={503: {"model": Ready, "description": "a part cannot be reached"}},
    summary="Can the service do its work?",
)
async def readyz(request: Request) -> Any:
    """Asks the database, the broker and the storage."""
    parts = await request.app.state.readiness.ask()
    good = all(found == "ok" for found in parts.values())
    ready = Ready(status="ok" if good else "unavailable", **parts)
    return JSONResponse(ready.model_dump(), 200 if good else 503)
