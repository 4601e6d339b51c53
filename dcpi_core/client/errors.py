"""From a problem document to the error class that the core raises for the same fault.

Code that catches ``BudgetError`` works the same offline and against the service.
"""

from collections.abc import Iterator
from typing import Any

import httpx

from dcpi_core.spec.errors import DcpiError, FieldProblem


class ServiceUnreachable(DcpiError):
    """No answer from the service, after every retry."""

    code = "service_unreachable"


class ApiError(DcpiError):
    """An error whose ``code`` this version of the client does not know."""

    def __init__(self, code: str, detail: str, problems: tuple[FieldProblem, ...] = ()) -> None:
        super().__init__(detail, problems)
        self.code = code


def error_of(response: httpx.Response) -> DcpiError:
    """The typed error for a response of status 400 or above, with its request id as a note."""
    body = _body(response)
    code = str(body.get("code") or f"http_{response.status_code}")
    detail = str(
        body.get("detail") or body.get("title") or f"the service answered {response.status_code}"
    )
    problems = tuple(_problems(body.get("errors")))
    known = _known_classes().get(code)
    error = known(detail, problems) if known else ApiError(code, detail, problems)
    request_id = body.get("request_id") or response.headers.get("x-request-id")
    error.add_note(
        f"HTTP {response.status_code}" + (f", request {request_id}" if request_id else "")
    )
    return error


def _body(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except (ValueError, httpx.StreamError):  # not JSON, or the connection broke on the way
        return {}
    return body if isinstance(body, dict) else {}


def _problems(entries: object) -> Iterator[FieldProblem]:
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict):
            fields = (str(entry.get(key, "")) for key in ("pointer", "code", "message"))
            yield FieldProblem(*fields)


def _known_classes() -> dict[str, type[DcpiError]]:
    found: dict[str, type[DcpiError]] = {}
    pending = DcpiError.__subclasses__()
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        if "code" in vars(cls):
            found[cls.code] = cls
    return found
