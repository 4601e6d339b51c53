"""Errors as ``application/problem+json`` (RFC 9457), whoever raised them."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from dcpi_core.spec.errors import Conflict, DcpiError, FieldProblem, InvalidInput, NotFound

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
STATUS: dict[type[DcpiError], int] = {
    NotFound: 404,
    Conflict: 409,
    InvalidInput: 422,
    DcpiError: 500,
}
TITLES = {
    400: "Bad request",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    416: "Range not satisfiable",
    422: "Invalid input",
    500: "Internal error",
    503: "Unavailable",
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


class TooLarge(InvalidInput):
    """The body is larger than this service accepts."""

    code = "too_large"


def status_of(error: DcpiError) -> int:
    """HTTP status of an error, by the nearest class that has one."""
    if isinstance(error, TooLarge):
        return 413
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """``responses=`` of an operation: these statuses answer with a problem."""
    return {
        status: {
            "description": TITLES[status],
            "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
        }
        for status in (*statuses, 500)
    }


def install(app: FastAPI) -> None:
    """Make every error of the application a problem."""
    app.add_exception_handler(DcpiError, _of_ours)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _of_validation)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _of_framework)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _of_bug)


def answer(
    request: Request,
    status: int,
    code: str,
    detail: str,
    fields: list[ProblemField] | None = None,
) -> JSONResponse:
    """A problem as a response."""
    problem = Problem(
        title=TITLES.get(status, "Error"),
        status=status,
        detail=detail,
        instance=request.url.path,
        code=code,
        request_id=getattr(request.state, "request_id", ""),
        errors=fields or [],
    )
    return JSONResponse(problem.model_dump(), status, media_type=MEDIA_TYPE)


async def _of_ours(request: Request, error: DcpiError) -> JSONResponse:
    status = status_of(error)
    if status == 500:
        logger.error("unexpected %s", error.code, exc_info=error)
    fields = [_field(problem) for problem in error.problems]
    return answer(request, status, error.code, error.detail, fields)


async def _of_validation(request: Request, error: RequestValidationError) -> JSONResponse:
    fields = [
        ProblemField(
            pointer="".join(f"/{part}" for part in _path(problem["loc"])),
            code=problem["type"],
            message=problem["msg"],
        )
        for problem in error.errors()
    ]
    detail = "; ".join(f"{field.pointer or 'body'}: {field.message}" for field in fields)
    return answer(request, 422, "invalid_input", detail, fields)


async def _of_framework(request: Request, error: HTTPException) -> JSONResponse:
    codes = {404: "not_found", 405: "method_not_allowed"}
    code = codes.get(error.status_code, f"http_{error.status_code}")
    response = answer(request, error.status_code, code, str(error.detail))
    response.headers.update(error.headers or {})
    return response


async def _of_bug(request: Request, error: Exception) -> JSONResponse:
    logger.error("unhandled error", exc_info=error)
    detail = "an unexpected error; it has been logged under this request id"
    return answer(request, 500, "internal_error", detail)


def _path(location: tuple[Any, ...]) -> list[str]:
    """Where in the request, without FastAPI's word for the part and pydantic's union branches."""
    inner = location[1:] if location and location[0] in ("body", "query", "path") else location
    return [str(part) for part in inner if "[" not in str(part) and part not in ("str", "float")]


def _field(problem: FieldProblem) -> ProblemField:
    return ProblemField(pointer=problem.pointer, code=problem.code, message=problem.message)
