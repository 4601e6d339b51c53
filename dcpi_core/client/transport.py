"""Requests with retries. One place decides what is worth asking again, and how long to wait."""

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from dcpi_core.client.errors import ApiError, ServiceUnreachable, error_of
from dcpi_core.spec.errors import DcpiError

M = TypeVar("M", bound=BaseModel)

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 8.0
LONGEST_RETRY_AFTER_SECONDS = 60.0


class Transport:
    """An HTTP connection to one service.

    Only requests that may be repeated are retried: reads, and writes that carry an
    ``Idempotency-Key`` or are idempotent by themselves.
    """

    def __init__(self, http: httpx.Client, retries: int = 2) -> None:
        self.http = http
        self.retries = retries

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON answer to a GET; None among ``params`` is left out."""
        given = {key: value for key, value in (params or {}).items() if value is not None}
        return json_of(self.send(lambda: self.http.build_request("GET", path, params=given)))

    def watch(self, path: str, held: int, patience: float) -> Any:
        """The JSON answer to a GET that the service may hold for ``held`` seconds."""
        usual = self.http.timeout
        read = None if usual.read is None else usual.read + held
        params = {"wait": held} if held else {}

        def build() -> httpx.Request:
            timeout = httpx.Timeout(usual.connect, read=read, write=usual.write, pool=usual.pool)
            return self.http.build_request("GET", path, params=params, timeout=timeout)

        return json_of(self.send(build, patience))

    def send(self, build: Callable[[], httpx.Request], patience: float = 0.0) -> httpx.Response:
        """Send what ``build`` makes, afresh for each attempt, and read the answer.

        Args:
            build: makes the request.
            patience: seconds for which it is tried again, however many retries that takes.

        Raises:
            DcpiError: the service refused, in the class that belongs to its error code.
            ServiceUnreachable: no answer, or only failures, after every retry.
        """
        with self.open(build, patience) as response:
            response.read()
            return response

    @contextmanager
    def open(
        self, build: Callable[[], httpx.Request], patience: float = 0.0
    ) -> Iterator[httpx.Response]:
        """Like ``send``, without reading the body of a successful answer."""
        response = self._attempt(build, patience)
        try:
            yield response
        finally:
            response.close()

    def pause(
        self, attempt: int, response: httpx.Response | None = None, until: float = math.inf
    ) -> None:
        """Wait before retry number ``attempt`` (from 0), as long as the service asks for.

        But not beyond ``until`` on the monotonic clock.
        """
        time.sleep(max(0.0, min(delay_seconds(attempt, response), until - time.monotonic())))

    def _attempt(self, build: Callable[[], httpx.Request], patience: float) -> httpx.Response:
        give_up = time.monotonic() + patience
        latest = give_up if patience else math.inf
        for attempt in itertools.count():
            last = attempt >= self.retries and time.monotonic() >= give_up
            try:
                response = self._once(build)
            except httpx.TransportError as error:
                if last:
                    reason = str(error) or type(error).__name__
                    raise ServiceUnreachable(
                        f"no answer from {self.http.base_url}: {reason}"
                    ) from error
                self.pause(attempt, until=latest)
                continue
            if response.is_success:
                return response
            problem = _read_error(response)
            if last or not worth_repeating(response):
                raise problem
            self.pause(attempt, response, until=latest)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _once(self, build: Callable[[], httpx.Request]) -> httpx.Response:
        request = build()
        # httpx drops Authorization when a redirect leads to another host; only reads follow one.
        return self.http.send(request, stream=True, follow_redirects=request.method == "GET")


def worth_repeating(response: httpx.Response) -> bool:
    """Whether the same request may succeed a little later.

    A 409 is final, except for one that says when to return: the first request with the same
    ``Idempotency-Key`` is still being answered. A 429 is final where it asks for more patience than
    one call has, as a quota does that is free again next month.
    """
    code, asked = response.status_code, response.headers.get("retry-after", "")
    if code == httpx.codes.TOO_MANY_REQUESTS and asked.isdigit():
        return float(asked) <= LONGEST_RETRY_AFTER_SECONDS
    if code == httpx.codes.CONFLICT:
        return "retry-after" in response.headers
    return code in (408, 429) or code >= 500


def delay_seconds(attempt: int, response: httpx.Response | None = None) -> float:
    """``Retry-After`` if it is given in seconds, else a jittered exponential delay."""
    asked = response.headers.get("retry-after", "") if response is not None else ""
    if asked.isdigit():
        return min(float(asked), LONGEST_RETRY_AFTER_SECONDS)
    longest = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0**attempt)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


def parse(model: type[M], data: Any) -> M:
    """``data`` as ``model``; raises ApiError if the service answered something else.

    Fields that a newer service adds are no error, also to models that refuse unknown ones.
    """
    refuses = model.model_config.get("extra") == "forbid"
    try:
        return model.model_validate(data, extra="ignore" if refuses else None)
    except ValidationError as error:
        detail = (
            f"the service sent no valid {model.__name__}: {error.error_count()} fields are wrong"
        )
        raise ApiError("unexpected_answer", detail) from error


def json_of(response: httpx.Response) -> Any:
    """The JSON body; raises ApiError if it is none, as from a proxy or another service."""
    try:
        return response.json()
    except ValueError as error:
        detail = f"{response.url} answered with something that is not JSON"
        raise ApiError("unexpected_answer", detail) from error


def _read_error(response: httpx.Response) -> DcpiError:
    try:
        response.read()
    except httpx.TransportError:
        response.close()
    return error_of(response)
