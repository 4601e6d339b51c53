"""The web application: routers, error handlers, and what runs while it is up."""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from app import health
from app.catalog import endpoints as catalog
from app.condensed import endpoints as condensed
from app.datasets import endpoints as datasets
from app.jobs import endpoints as jobs
from app.kit import outbox, problems
from app.kit.app_state import AppState
from app.kit.broker import Bell
from app.kit.db import build_engine, build_sessions
from app.kit.ids import new_id
from app.kit.storage import open_storage
from app.settings import Settings
from dcpi_core import __version__

logger = logging.getLogger(__name__)

RELAY_SECONDS = 0.5
DESCRIPTION = """
Turns a large image dataset into a tiny one, with *privileged information*: soft and feature labels
that make models trained on it more accurate. Submit a job, watch it, download the bundle.

1. `POST /v1/jobs` with four words: `dataset`, `fraction`, `base_method`, `pi_type`
2. `GET /v1/jobs/{id}` or its `/events`, until the status is `succeeded`
3. `GET /v1/condensed/{id}/archive`, then `dcpi_core.load("bundle.zip").fit()`
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; connections are made here, servers are asked only when needed."""
    settings = settings or Settings()
    app = FastAPI(
        title="DCPI",
        version=__version__,
        summary="Dataset condensation with privileged information",
        description=DESCRIPTION,
        lifespan=_lifespan,
    )
    engine = build_engine(settings.resolved_database_url)
    app.state.dcpi = AppState(
        settings, engine, build_sessions(engine), open_storage(settings), Bell(settings.broker_url)
    )
    problems.install(app)
    app.middleware("http")(_name_request)
    for part in (jobs, datasets, condensed, catalog, health):
        app.include_router(part.router)
    app.add_api_route("/", _home, include_in_schema=False)
    return app


async def _home() -> RedirectResponse:
    return RedirectResponse("/docs")


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: AppState = app.state.dcpi
    relaying = asyncio.create_task(_relay_forever(state))
    yield
    relaying.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await relaying
    state.engine.dispose()


async def _relay_forever(state: AppState) -> None:
    """Send what the outbox holds; a broker or database that is down is tried again."""
    while True:
        try:
            await asyncio.to_thread(outbox.relay, state.sessions, state.bell)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next round may succeed
            logger.warning("outbox waits: %s", error)
        await asyncio.sleep(RELAY_SECONDS)


async def _name_request(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Give each request an id, the caller's own if it is a sane one."""
    given = request.headers.get("x-request-id", "")
    request_id = given if re.fullmatch(r"[\w.:-]{1,64}", given, re.ASCII) else new_id("req")
    request.state.request_id = request_id
    response = await call_next(request)
    response.headers["X-Request-Id"] = request_id
    return response
