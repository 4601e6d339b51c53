"""Errors as ``application/problem+json`` (RFC 9457), whoever raised them."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from starlette.exceptions import HTTPException

from app.kit.body_fields import unknown_field
from app.kit.headers import SECURITY
from app.kit.storage import StorageError
from dcpi_core.spec.errors import (
    Conflict,
    DcpiError,
    FieldProblem,
    InvalidInput,
    LimitExceeded,
    NotAllowed,
    NotAuthenticated,
    NotFound,
)

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
MAX_FIELDS = 50
MAX_TEXT = 2000
"""A request that is wrong a thousand times need not be told so a thousand times."""


class UnknownParameter(InvalidInput):
    """A query parameter that the operation does not have."""

    code = "unknown_parameter"


class TooLarge(InvalidInput):
    """The body is larger than this service accepts."""

    code = "too_large"


class UnsupportedMedia(InvalidInput):
    """The body is of a type that the operation does not read."""

    code = "unsupported_media_type"


STATUS: dict[type[DcpiError], int] = {
    UnknownParameter: 400,
    NotAuthenticated: 401,
    NotAllowed: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    UnsupportedMedia: 415,
    InvalidInput: 422,
    LimitExceeded: 429,
    DcpiError: 500,
}
TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Timed out",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    416: "Range not satisfiable",
    422: "Invalid input",
    429: "Limit exceeded",
    500: "Internal error",
    503: "Unavailable",
}
CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "timed_out",
    413: TooLarge.code,
    503: "unavailable",
}
"""Of errors that the framework raises."""

EVERYWHERE = (400, 401, 403, 429, 500, 503)
"""Any operation may answer with these."""

UNREACHABLE: dict[type[Exception], str] = {
    OperationalError: "database",
    NoConnection: "database",
    StorageError: "storage",
}
"""What drivers raise when their server is away, and the pool when none of its connections came
free; what is not there is told apart before."""
AWAY_SECONDS = 5
"""After which it is worth asking again."""
CONTENDED = {"40P01", "40001"}
"""What PostgreSQL calls a transaction that it gave up for another: a deadlock, or a failure to put
the two in order. Drivers report them in the class of a server that is away."""
CONTENDED_SECONDS = 1
"""After which that other transaction should be over."""
DANGLING = {"23503", "SQLITE_CONSTRAINT_FOREIGNKEY"}
"""What PostgreSQL and SQLite call a row that would refer to one that is not there."""

EXAMPLE = {
    "type": "about:blank",
    "title": "Invalid input",
    "status": 422,
    "detail": "unknown base method 'dcx'; available: dc, forgetting, herding, k_center, random",
    "instance": "/v1/jobs",
    "code": "unknown_name",
    "request_id": "req_01JD0000000000000000000000",
    "errors": [
        {
            "pointer": "/base_method",
            "code": "unknown_name",
            "message": "unknown base method 'dcx'",
        }
    ],
}


RETRY_AFTER = {
    "Retry-After": {
        "description": "seconds; missing where time alone changes nothing",
        "schema": {"type": "integer"},
    }
}


class ProblemField(BaseModel):
    """One offending field."""

    pointer: str = Field(description="JSON Pointer into the request", examples=["/fraction"])
    code: str
    message: str


class Problem(BaseModel):
    """What went wrong and what would be right."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str
    code: str = Field(description="stable identifier", examples=["budget_out_of_range"])
    request_id: str
    errors: list[ProblemField] = Field(default_factory=list)


def status_of(error: DcpiError) -> int:
    """HTTP status of an error, by the nearest class that has one."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """``responses=`` of an operation: these statuses and those of all answer with a problem."""
    return {status: _described(status) for status in sorted({*EVERYWHERE, *statuses})}


def _described(status: int) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/Problem"}}
    if status == EXAMPLE["status"]:
        content["example"] = EXAMPLE
    described = {"description": TITLES[status], "content": {MEDIA_TYPE: content}}
    return described | ({"headers": RETRY_AFTER} if status in (429, 503) else {})


def install(app: FastAPI) -> None:
    """Make every error of the application a problem, in its documentation too."""
    app.add_exception_handler(DcpiError, _of_ours)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _of_validation)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _of_framework)  # type: ignore[arg-type]
    for kind in UNREACHABLE:
        app.add_exception_handler(kind, _of_absence)
    app.add_exception_handler(IntegrityError, _of_race)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _of_bug)
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        document.setdefault("components", {}).setdefault("schemas", {}).update(_schemas())
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _schemas() -> dict[str, Any]:
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), "Problem": schema}


def answer(
    request: Request,
    status: int,
    code: str,
    detail: str,
    fields: list[ProblemField] | None = None,
) -> JSONResponse:
    """A problem as a response."""
    request_id = getattr(request.state, "request_id", "")
    problem = Problem(
        title=TITLES.get(status) or HTTPStatus(status).phrase,
        status=status,
        detail=_short(detail),
        instance=request.url.path,
        code=code,
        request_id=request_id,
        errors=(fields or [])[:MAX_FIELDS],
    )
    # Set here as well: the answer to a bug is made outside of every middleware.
    headers = {"X-Request-Id": request_id, **SECURITY}
    return JSONResponse(problem.model_dump(), status, headers, media_type=MEDIA_TYPE)


async def _of_ours(request: Request, error: DcpiError) -> JSONResponse:
    return of_ours(request, error)


def of_ours(request: Request, error: DcpiError) -> JSONResponse:
    """A deliberate error as a response."""
    status = status_of(error)
    if status == 500:
        logger.error("unexpected %s", error.code, exc_info=error)
    fields = [_field(problem) for problem in error.problems]
    response = answer(request, status, error.code, error.detail, fields)
    if isinstance(error, NotAuthenticated):
        response.headers["WWW-Authenticate"] = 'Bearer realm="dcpi"'
    if isinstance(error, LimitExceeded) and error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


async def _of_validation(request: Request, error: RequestValidationError) -> JSONResponse:
    fields = [
        ProblemField(
            pointer=_pointer(problem, error.body),
            code=problem["type"],
            message=_message(request, problem),
        )
        for problem in error.errors()[:MAX_FIELDS]
    ]
    detail = "; ".join(f"{field.pointer or 'body'}: {field.message}" for field in fields)
    return answer(request, 422, InvalidInput.code, detail, fields)


async def _of_framework(request: Request, error: HTTPException) -> JSONResponse:
    code = CODES.get(error.status_code, f"http_{error.status_code}")
    response = answer(request, error.status_code, code, str(error.detail))
    response.headers.update(error.headers or {})
    if error.status_code == 405:
        response.headers["Allow"] = _allowed(request)
    return response


async def _of_absence(request: Request, error: Exception) -> JSONResponse:
    return of_absence(request, error)


def of_absence(request: Request, error: Exception) -> JSONResponse:
    """One of ``UNREACHABLE`` as a response."""
    if getattr(getattr(error, "orig", None), "sqlstate", None) in CONTENDED:
        return _of_contention(request, error)
    part = next(name for kind, name in UNREACHABLE.items() if isinstance(error, kind))
    reason = (str(error).splitlines() or [""])[0]  # drivers go on for pages
    logger.error("%s cannot be reached: %s: %s", part, type(error).__name__, reason)
    detail = f"the service does not reach its {part} just now; nothing is lost, try again soon"
    response = answer(request, 503, f"{part}_unreachable", detail)
    response.headers["Retry-After"] = str(AWAY_SECONDS)
    return response


def _of_contention(request: Request, error: Exception) -> JSONResponse:
    logger.error("given up for another transaction: %s", error)
    detail = (
        "this request and another one waited for each other, and the database gave this one up; "
        "nothing was changed, try again"
    )
    response = answer(request, 503, CODES[503], detail)
    response.headers["Retry-After"] = str(CONTENDED_SECONDS)
    return response


async def _of_race(request: Request, error: IntegrityError) -> JSONResponse:
    told = {getattr(error.orig, name, None) for name in ("sqlstate", "sqlite_errorname")}
    if not told & DANGLING:
        raise error  # a bug
    detail = (
        "Another request changed or deleted a related object at the same time. Nothing was "
        "changed; fetch it and try again."
    )
    return answer(request, 409, Conflict.code, detail)


def _allowed(request: Request) -> str:
    """Methods of the path that was asked for; the framework names those of one of its routes."""
    documented_paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    route = request.scope["route"]
    return ", ".join(sorted(method.upper() for method in documented_paths.get(route.path, {})))


async def _of_bug(request: Request, error: Exception) -> JSONResponse:
    logger.error("unhandled error", exc_info=error)
    detail = "an unexpected error; it has been logged under this request id"
    return answer(request, 500, DcpiError.code, detail)


def _message(request: Request, problem: Mapping[str, Any]) -> str:
    part, *inner = problem["loc"] or ("body",)
    if problem["type"] == "extra_forbidden" and part == "body":
        return _short(unknown_field(request, inner))
    return str(problem["msg"])


def _pointer(problem: Mapping[str, Any], body: Any) -> str:
    """Where in the request: the location without the names of pydantic's union branches.

    A name that the body does not have at that place is such a branch, or a missing field.
    """
    part, *inner = problem["loc"] or ("body",)
    if part != "body":
        return _join(inner)
    found, at = [], body
    for position, step in enumerate(inner):
        missing = problem["type"] == "missing" and position == len(inner) - 1
        if not missing and not _has(at, step):
            continue
        found.append(step)
        at = None if missing else at[step]
    return _join(found)


def _has(value: Any, step: Any) -> bool:
    if isinstance(value, Mapping):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and step < len(value)


def _join(steps: list[Any]) -> str:
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + " ..."


def _field(problem: FieldProblem) -> ProblemField:
    return ProblemField(pointer=problem.pointer, code=problem.code, message=_short(problem.message))
