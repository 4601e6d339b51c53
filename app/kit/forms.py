"""Forms with uploads: how many at once, how large, and of which parts."""

import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from anyio import fail_after
from fastapi import Request, Response, params
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope

from app.kit.app_state import KEY, TENANT, get_state
from app.kit.slots import NoOwnSlot, NoSlot, Slots
from dcpi_core.spec.errors import FieldProblem, QuotaExceeded

logger = logging.getLogger(__name__)

FORM_OVERHEAD_BYTES = 1 << 16
"""Fields, boundaries and part headers around an uploaded file."""
MAX_FIELD_BYTES = 1024
"""Of a field of a form; files alone may be larger."""
DISK_SECONDS = 60
"""After which other uploads may have left a disk that was full."""
PLACE_SECONDS = 30
"""After which another upload may be done."""
SILENT_SECONDS = 60.0
"""After which an upload of which nothing more comes is given up, and its place with it."""

_LATER = f"and no more are taken meanwhile; try again in {PLACE_SECONDS} s"

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
            receive = _bounded(request.receive, limit + FORM_OVERHEAD_BYTES, limit)
            with _place(state.forms, request):
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
def _place(forms: Slots, request: Request) -> Iterator[None]:
    """Hold a place for an upload; one that waited unread would seem lost to its sender."""
    owner = None if getattr(request.state, KEY, None) is None else getattr(request.state, TENANT)
    try:
        with forms.one(owner):
            yield
    except NoOwnSlot:
        detail = f"{forms.each} uploads of yours are being received or checked here, {_LATER}"
        problem = FieldProblem("", "uploads_at_once", detail)
        raise QuotaExceeded(detail, [problem], retry_after_seconds=PLACE_SECONDS) from None
    except NoSlot:
        detail = f"{forms.total} uploads are being received or checked here, {_LATER}"
        raise HTTPException(503, detail, {"Retry-After": str(PLACE_SECONDS)}) from None


def _bounded(
    receive: Callable[[], Awaitable[Message]], most: int, announced: int
) -> Callable[[], Awaitable[Message]]:
    """Receive no more than ``most`` bytes, and no longer than they come."""
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        try:
            with fail_after(SILENT_SECONDS):
                message = await receive()
        except TimeoutError:
            # Anything else raised here would be called a broken form by the framework.
            detail = f"nothing more of the archive came for {SILENT_SECONDS:g} s"
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, detail) from None
        taken += len(message.get("body", b""))
        if taken > most:
            raise HTTPException(413, f"the archive is larger than {announced} bytes")
        return message

    return bounded


def _unwritten(lost: OSError) -> HTTPException:
    logger.error("an upload cannot be written: %s", lost)
    detail = "the service cannot write uploads just now, its disk may be full; try again later"
    return HTTPException(503, detail, {"Retry-After": str(DISK_SECONDS)})
