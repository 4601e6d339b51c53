"""Reading a job's history: once as pages, or live as server-sent events that survive a break."""

import json
from collections.abc import Iterable, Iterator

import httpx

from dcpi_core.client.errors import ServiceUnreachable
from dcpi_core.client.models import Event, Page
from dcpi_core.client.transport import Transport, parse

LAST = "end"
"""The type of the event after which the service closes the stream."""


def recorded(transport: Transport, path: str) -> Iterator[Event]:
    """Every event up to now."""
    after: str | None = None
    while True:
        page = parse(Page[Event], transport.get(path, {"limit": 100, "after": after}))
        yield from page.data
        if not page.has_more or page.last_id is None:
            return
        after = page.last_id


def live(transport: Transport, path: str) -> Iterator[Event]:
    """Events as they happen, from the first one, until the job is over.

    A broken connection is taken up again after the last event that was seen: none is lost and
    none comes twice.

    Raises:
        ServiceUnreachable: the connection broke repeatedly without a single event in between.
    """
    seen, breaks = "", 0
    while True:
        try:
            with transport.open(lambda last=seen: _request(transport.http, path, last)) as response:  # type: ignore[misc]
                for event in parse_stream(response.iter_lines()):
                    seen, breaks = event.id or seen, 0
                    yield event
                    if event.type == LAST:
                        return
        except httpx.TransportError as error:
            if breaks >= transport.retries:
                raise ServiceUnreachable(f"the event stream broke off: {error}") from error
        # The service also closes a stream that has lived long; that is no failure, but without a
        # single new event it must not become a busy loop.
        transport.pause(breaks)
        breaks += 1


def parse_stream(lines: Iterable[str]) -> Iterator[Event]:
    """Server-sent events from lines, by the WHATWG rules as far as this service uses them."""
    fields: dict[str, list[str]] = {}
    for line in lines:
        if not line:
            if "data" in fields:
                yield _event(fields)
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))


def _event(fields: dict[str, list[str]]) -> Event:
    text = "\n".join(fields["data"])
    try:
        data = json.loads(text)
    except ValueError:
        data = text
    return Event(
        id=fields.get("id", [""])[-1],
        type=fields.get("event", ["message"])[-1],
        data=data if isinstance(data, dict) else {"value": data},
    )


def _request(http: httpx.Client, path: str, last: str) -> httpx.Request:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    # The service sends a heartbeat every 15 seconds; a minute of silence is a dead connection.
    return http.build_request("GET", path, headers=headers, timeout=httpx.Timeout(10, read=60))
