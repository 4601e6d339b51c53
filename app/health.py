"""Is the process alive, and can it reach what it needs?"""

import logging
from collections.abc import Callable
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import text

from app.kit.app_state import AppState, StateDep

logger = logging.getLogger(__name__)

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Each part by name: "ok" or what is wrong."""

    status: Literal["ok", "unavailable"]
    sql: str
    broker: str
    storage: str


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
def readyz(state: StateDep) -> Any:
    """Asks the database, the broker and the storage."""
    parts = {
        "sql": _try("sql", lambda: _ask_database(state)),
        "broker": _try("broker", state.bell.check),
        "storage": _try("storage", state.storage.check),
    }
    good = all(found == "ok" for found in parts.values())
    ready = Ready(status="ok" if good else "unavailable", **parts)
    return JSONResponse(ready.model_dump(), 200 if good else 503)


def _ask_database(state: AppState) -> None:
    with state.engine.connect() as connection:
        connection.execute(text("SELECT 1 FROM jobs LIMIT 1"))


def _try(part: str, ask: Callable[[], None]) -> str:
    try:
        ask()
    except Exception as error:  # noqa: BLE001 - whatever a driver raises means "not reachable"
        logger.warning("%s cannot be reached: %s", part, error)
        return f"unreachable ({type(error).__name__})"
    return "ok"
