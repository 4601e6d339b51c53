"""The gate: every request passes it before its body is read, and says there whose it is.

It stands around all routes and knows only what is open to everybody, so that a new operation is
closed until somebody opens it.
"""

from anyio import to_thread
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import docs
from app.access import policy, scopes, service
from app.access.rates import POLICY, WINDOW_SECONDS, Allowance
from app.access.service import Caller
from app.kit import problems
from app.kit.app_state import KEY, TENANT, AppState
from app.models import DEFAULT_TENANT
from dcpi_core.spec.errors import DcpiError, NotAllowed, NotAuthenticated, RateLimited

OPEN = ("/", "/healthz", "/readyz", "/openapi.json", docs.PATH)
OPEN_BELOW = docs.PATH + "/"
LOCAL = Caller(DEFAULT_TENANT, frozenset(scopes.Scope))


class Gate:
    """Admits a request as its tenant's, or answers 401, 403, 429, or 503 without a database.

    Args:
        app: what is behind the gate.
        state: that of the application, with sessions that see the keys of all tenants.
        required: whether every request needs a key, from ``policy.keys_required``.
    """

    def __init__(self, app: ASGIApp, state: AppState, *, required: bool) -> None:
        self._app = app
        self._state = state
        self._required = required

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_open(_path(scope)):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        allowance = None
        try:
            caller = await self._caller(request)
            allowance = caller.allowance
            _require_allowed(request.method, _path(scope), caller)
        except DcpiError as error:
            response = problems.of_ours(request, error)
            await response(scope, receive, _announcing(allowance, send))
            return
        except tuple(problems.UNREACHABLE) as error:  # the handlers of errors are behind the gate
            await problems.of_absence(request, error)(scope, receive, send)
            return
        scope.setdefault("state", {}).update({TENANT: caller.tenant_id, KEY: caller.key_id})
        await self._app(scope, receive, _announcing(allowance, send))

    async def _caller(self, request: Request) -> Caller:
        settings = self._state.settings
        if not self._required:
            if settings.auth != "open" and not _is_local(request):
                raise NotAuthenticated(
                    "this service runs without API keys and answers its own machine only, as "
                    "localhost or by a loopback address, and nothing that a proxy passes on; to "
                    "open it, set DCPI_AUTH=on and DCPI_KEY_SECRET"
                )
            if policy.sent_by_another_site(request.method, request.headers):
                raise NotAllowed("the page of another site may not change anything here")
            return LOCAL
        assert settings.key_secret is not None
        token, secret = _bearer(request), settings.key_secret.get_secret_value()
        async with self._state.seats:
            return await to_thread.run_sync(
                service.admit, self._state.engine, self._state.sessions, token, secret
            )


def is_open(path: str) -> bool:
    """Whether everybody may have this: health, documentation and the way to it."""
    return path in OPEN or path.startswith(OPEN_BELOW)


def _is_local(request: Request) -> bool:
    """Whether this machine sent a request to itself, as far as the request tells."""
    outside = policy.came_from_outside(request.scope.get("server"))
    passed_on = policy.was_passed_on(request.headers)
    return not outside and not passed_on and policy.is_meant_for_this_machine(request.headers)


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _bearer(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise NotAuthenticated("send an API key, with the header Authorization: Bearer dcpi_...")
    return token.strip()


def _require_allowed(method: str, path: str, caller: Caller) -> None:
    allowance = caller.allowance
    if allowance is not None and allowance.retry_after is not None:
        raise RateLimited(
            f"the limit {POLICY!r} of this key is {allowance.quota} in {WINDOW_SECONDS} s; "
            f"try again in {allowance.retry_after} s",
            retry_after_seconds=allowance.retry_after,
        )
    wanted = scopes.needed(method, path)
    if not scopes.allows(caller.scopes, wanted):
        held = ", ".join(sorted(caller.scopes))
        raise NotAllowed(f"{method} {path} takes a key with scope {wanted}; this one has: {held}")


def _announcing(allowance: Allowance | None, send: Send) -> Send:
    if allowance is None:
        return send

    async def announced(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(allowance.headers())
        await send(message)

    return announced
