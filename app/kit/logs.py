"""Logs: one line per record, as text or as JSON, each with the request and the job it is about."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
Format = Literal["text", "json"]

_bound: ContextVar[dict[str, Any] | None] = ContextVar("bound", default=None)


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Every record logged inside carries these fields, in threads that copy their context too."""
    token = _bound.set({**(_bound.get() or {}), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


class TextFormatter(logging.Formatter):
    """A record as one line, and its traceback indented below: no text in it can pass for another.

    Messages quote what strangers send, such as the path of a request, whose line breaks the server
    has decoded.
    """

    def format(self, record: logging.LogRecord) -> str:
        record.message, record.asctime = record.getMessage(), self.formatTime(record)
        lines = [self.formatMessage(record)]
        if record.exc_info:
            lines += ["  " + line for line in self.formatException(record.exc_info).split("\n")]
        return "\n".join(_printable(line) for line in lines)


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, bound and extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **(_bound.get() or {}),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _printable(text: str) -> str:
    """The text with what breaks or hides lines, or directs a terminal, written as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class _ToStderr(logging.StreamHandler[TextIO]):
    """Writes to what is standard error at the time."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        raise AttributeError("this handler always writes to standard error")


def configure(kind: Format) -> None:
    """Have this process log to standard error; a second call changes the format.

    The server's own logs come this way too, so that a traceback of it is like any other. Its lines
    for each request are left out: the application writes one with the request's name.
    """
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = name != "uvicorn.access"
    root = logging.getLogger()
    for handler in [known for known in root.handlers if isinstance(known, _ToStderr)]:
        root.removeHandler(handler)
    handler = _ToStderr()
    handler.setFormatter(JsonFormatter() if kind == "json" else TextFormatter(TEXT))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
