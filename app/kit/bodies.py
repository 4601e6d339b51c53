"""Request bodies: bounded in size, and JSON that every part of the service can store.

Python's parser takes more than JSON: NaN, integers of any length, half a surrogate pair. Each of
them breaks something further in (a database column, an answer, a job that starts hours later).
"""

import json
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, NoReturn

from anyio import CapacityLimiter, WouldBlock
from fastapi import Request, Response, params
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope

from app.kit.app_state import get_state
from app.kit.problems import TooLarge, UnsupportedMedia
from dcpi_core.spec.errors import InvalidInput

logger = logging.getLogger(__name__)

MAX_DEPTH = 32
MAX_INTEGER = 2**63
FORM_OVERHEAD_BYTES = 1 << 16
"""Fields, boundaries and part headers around an uploaded file."""
MAX_FIELD_BYTES = 1024
"""Of a field of a form; files alone may be larger."""
DISK_SECONDS = 60
"""After which other uploads may have left a disk that was full."""
PLACE_SECONDS = 30
"""After which another upload may be done."""

_NO_TEXT = re.compile("[\0\ud800-\udfff]")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class JsonRoute(APIRoute):
    """Checks a JSON body before anything looks at its fields."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def checked(request: Request) -> Response:
            limit = get_state(request).settings.max_json_bytes
            content = await _read(request, limit)
            if content and not _is_json(request):
                raise UnsupportedMedia("send JSON, with the header Content-Type: application/json")
            return await handle(_ReadRequest(request, content))

        return checked


class UploadRoute(APIRoute):
    """Bounds form uploads: how many at once, how large, and of which parts.

    Says whose fault it is if the disk is full.
    """

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


def parse_json(content: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        InvalidInput: it is no JSON, or holds what cannot be stored; says where.
    """
    try:
        value = json.loads(
            content.decode(),
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_number,
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise InvalidInput("the body is nested too deeply") from None
    except ValueError as error:  # not UTF-8, not JSON, or refused by one of ours
        raise InvalidInput.at("", f"the body is not valid JSON: {error}", "json_invalid") from None
    _check(value, "", 0)
    return value


class _ReadRequest(Request):
    """A request whose JSON body has been read and checked."""

    def __init__(self, request: Request, content: bytes) -> None:
        super().__init__(request.scope, request.receive)
        self._content = content
        self._value = parse_json(content) if content else None

    async def body(self) -> bytes:
        return self._content

    async def json(self) -> Any:
        return self._value


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


async def _read(request: Request, limit: int) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise TooLarge(f"the body is larger than {limit} bytes")
    return bytes(content)


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind[-5:] == "+json")


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


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _integer(text: str) -> int:
    if len(text) > 20 or not -MAX_INTEGER <= int(text) < MAX_INTEGER:
        raise ValueError(f"{text[:20]}... is larger than any number here may be")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:20]} is larger than any number here may be")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object names the same field twice")
    return found


def _check(value: Any, pointer: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidInput("the body is nested too deeply")
    if isinstance(value, str):
        _check_text(value, pointer)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            _check(item, f"{pointer}/{position}", depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, pointer)
            _check(item, f"{pointer}/{key}", depth + 1)


def _check_text(text: str, pointer: str) -> None:
    if _NO_TEXT.search(text):
        message = "text holds a NUL or half of a surrogate pair, which is no character"
        raise InvalidInput.at(pointer, message, "invalid_text")
