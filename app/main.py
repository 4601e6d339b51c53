"""The web application: routers, error handlers, and what runs while it is up."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial

from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from app import docs, health
from app.access import documentation
from app.access import endpoints as keys
from app.access.gate import Gate
from app.access.policy import keys_required
from app.catalog import endpoints as catalog
from app.condensed import endpoints as condensed
from app.datasets import endpoints as datasets
from app.health import Readiness, ask_database
from app.jobs import endpoints as jobs
from app.jobs.tail import Tail
from app.jobs.upkeep import Upkeep
from app.kit import logs, problems
from app.kit.app_state import AppState
from app.kit.broker import Bell
from app.kit.db import build_engine, build_sessions
from app.kit.headers import NamedRequests, SecurityHeaders
from app.kit.relay import Relay
from app.kit.slots import Slots
from app.kit.storage import open_storage
from app.kit.watching import WatchedRequests
from app.metrics import endpoints as metrics
from app.removal import endpoints as removal
from app.settings import Settings
from app.verifications import endpoints as verifications
from app.webhooks import endpoints as webhooks
from app.webhooks.courier import Courier, sender
from dcpi_core import __version__

DESCRIPTION = """
Turns a large image dataset into a tiny one, with *privileged information*: soft and feature labels
that make models trained on it more accurate. Submit a job, watch it, download the bundle.

1. `POST /v1/jobs` with four words: `dataset`, `fraction`, `base_method`, `pi_type`
2. `GET /v1/jobs/{id}` or its `/events`, until the status is `succeeded`
3. `GET /v1/condensed/{id}/archive`, then `dcpi_core.load("bundle.zip").fit()`

Beyond its own machine the service asks for an API key: `Authorization: Bearer dcpi_...`. Later
versions may add operations, fields and the words of a `status`; they take none away.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; connections are made here, servers are asked only when needed."""
    settings = settings or Settings.read()
    required = keys_required(settings)  # first of all: it may be that we must not start
    logs.configure(settings.log_format)
    app = FastAPI(
        title="DCPI",
        version=__version__,
        summary="Dataset condensation with privileged information",
        description=DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,  # these would load scripts from elsewhere; see app.docs
        redoc_url=None,
    )
    engine = build_engine(settings.resolved_database_url)
    sessions, bell = build_sessions(engine), Bell(settings.broker_url)
    relay = Relay(sessions, bell, Upkeep(sessions, settings, bell).duties())
    storage = open_storage(settings)
    streams = Slots(settings.max_streams, settings.streams_per_key)
    state = AppState(settings, engine, sessions, storage, bell, relay, streams)
    app.state.dcpi = state
    app.state.tail = Tail(sessions)
    app.state.courier = Courier(sessions, sender(settings))
    app.state.readiness = Readiness(
        {
            "sql": partial(ask_database, engine),
            "broker": bell.check,
            "storage": storage.check,
        }
    )
    problems.install(app)
    documentation.install(app)
    # The last one added is the outermost: a request has its name before it is watched, and is
    # watched before it is admitted.
    app.add_middleware(Gate, state=state, required=required)
    app.add_middleware(WatchedRequests, requests=state.requests)
    app.add_middleware(NamedRequests)
    app.add_middleware(SecurityHeaders)
    for part in (
        jobs,
        datasets,
        condensed,
        verifications,
        removal,
        webhooks,
        catalog,
        keys,
        health,
        metrics,
        docs,
    ):
        app.include_router(part.router)
    app.add_api_route("/", _home, include_in_schema=False)
    return app


async def _home() -> RedirectResponse:
    return RedirectResponse(docs.PATH)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: AppState = app.state.dcpi
    state.relay.start()
    app.state.courier.start()
    yield
    app.state.courier.stop()
    state.relay.stop()
    state.engine.dispose()
