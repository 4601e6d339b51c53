"""Headers of every answer: the name of its request, and what a browser may do with it.

A browser is to guess no types, show an answer in no frame and load nothing else. The policy fits an
API, whose answers are data. A page that needs more brings a policy of its own.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kit.ids import new_id

POLICY = "Content-Security-Policy"
NO_FRAMES = "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

SECURITY: Mapping[str, str] = {
    POLICY: f"default-src 'none'; {NO_FRAMES}",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class EveryAnswer(ABC):
    """Passes requests on and completes the headers of their answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    @abstractmethod
    def begin(self, scope: Scope) -> Callable[[MutableHeaders], None]:
        """Look at a request; what is returned completes the headers of its answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        complete = self.begin(scope)

        async def completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                complete(MutableHeaders(scope=message))
            await send(message)

        await self._app(scope, receive, completed)


class SecurityHeaders(EveryAnswer):
    """Adds the headers to every answer that does not set them itself."""

    def begin(self, scope: Scope) -> Callable[[MutableHeaders], None]:
        def complete(headers: MutableHeaders) -> None:
            for name, value in SECURITY.items():
                headers.setdefault(name, value)

        return complete


class NamedRequests(EveryAnswer):
    """Gives each request an id, the caller's own if it is a sane one."""

    def begin(self, scope: Scope) -> Callable[[MutableHeaders], None]:
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if re.fullmatch(r"[\w.:-]{1,64}", given, re.ASCII) else new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id

        def complete(headers: MutableHeaders) -> None:
            headers["X-Request-Id"] = request_id

        return complete
