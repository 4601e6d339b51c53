"""Forms with uploads: how many at once, how large, and of which parts."""

import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from anyio import CapacityLimiter, WouldBlock
from fastapi import Request, Response, params
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope

from app.kit.app_state import get_state

logger = logging.getLogger(__name__)

FORM_OVERHEAD_BYTES = 1 << 16
"""Fields, boundaries and part headers around an uploaded file."""
MAX_FIELD_BYTES = 1024
"""Of a field of a form; files alone may be larger."""
DISK_SECONDS = 60
"""After which other uploads may have left a disk that was full."""
PLACE_SECONDS = 30
"""After which another upload may be done."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class UploadRoute(APIRoute):
    """Bounds forms: how many at once, how large, of which parts; says if the disk is full."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        form = _Form(self.dependant)

        async def bounded(request: Request) -> Response:
            state = get_state(request)
            limit = state.settings.max_upload_bytes
            receive = _counting(request.receive, limit + FORM_OVERHEAD_BYTES, limit)
            with _place(state.forms):
                try:
                    return await handle(_FormRequest(request.scope, receive, form))
                except OSError as error:
                    raise _unwritten(error) from error
                except HTTPException as error:
                    # The framework calls a form that it cannot spool a broken one.
                    if isinstance(error.__cause__, OSError):
                        raise _unwritten(error.__cause__) from error.__cause__
                    if error.status_code == HTTPStatus.BAD_REQUEST:
                        detail = f"{error.detail.rstrip('.')}; {form.allowed}"
                        raise HTTPException(error.status_code, detail) from error
                    raise

        return bounded


class _Form:
    """The parts that the form of an operation has; all others would be held until its end."""

    def __init__(self, operation: Dependant) -> None:
        parts = {part.alias: part.field_info for part in operation.body_params}
        self.files = [name for name, info in parts.items() if isinstance(info, params.File)]
        self.fields = [name for name in parts if name not in self.files]

    @property
    def allowed(self) -> str:
        return (
            f"the form takes {', '.join(self.files)} as a file and {', '.join(self.fields)} as "
            f"fields of at most {MAX_FIELD_BYTES} bytes, and nothing else"
        )


class _FormRequest(Request):
    """A request whose form is read no further than its operation's goes."""

    def __init__(self, scope: Scope, receive: Receive, form: _Form) -> None:
        super().__init__(scope, receive)
        self._parts = form

    def form(self, **_: Any) -> Any:
        return super().form(
            max_files=len(self._parts.files),
            max_fields=len(self._parts.fields),
            max_part_size=MAX_FIELD_BYTES,
        )


@contextmanager
def _place(forms: CapacityLimiter) -> Iterator[None]:
    """Hold a place for an upload; one that waited unread would seem lost to its sender."""
    try:
        forms.acquire_nowait()
    except WouldBlock:
        detail = (
            f"{forms.total_tokens:.0f} uploads are being received or checked here, and no more "
            f"are taken meanwhile; try again in {PLACE_SECONDS} s"
        )
        raise HTTPException(503, detail, {"Retry-After": str(PLACE_SECONDS)}) from None
    try:
        yield
    finally:
        forms.release()


def _counting(
    receive: Callable[[], Awaitable[Message]], most: int, announced: int
) -> Callable[[], Awaitable[Message]]:
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            # Anything else raised here would be called a broken form by the framework.
            raise HTTPException(413, f"the archive is larger than {announced} bytes")
        return message

    return counted


def _unwritten(lost: OSError) -> HTTPException:
    logger.error("an upload cannot be written: %s", lost)
    detail = "the service cannot write uploads just now, its disk may be full; try again later"
    return HTTPException(503, detail, {"Retry-After": str(DISK_SECONDS)})
