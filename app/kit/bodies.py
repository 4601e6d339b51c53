"""JSON bodies: bounded in size, and of nothing that a part of the service cannot store.

Python's parser takes more than JSON: NaN, integers of any length, half a surrogate pair. Each of
them breaks something further in (a database column, an answer, a job that starts hours later).
"""

import json
import re
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute

from app.kit.app_state import get_state
from app.kit.problems import TooLarge, UnsupportedMedia
from dcpi_core.spec.errors import InvalidInput

MAX_DEPTH = 32
MAX_INTEGER = 2**63

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
