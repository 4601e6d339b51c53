"""A plain HTTP/1.1 connection over asyncio: a generator must cost less than what it measures.

It knows what the service sends it, and no more: bodies with a Content-Length.
"""

import asyncio
from types import TracebackType
from typing import NamedTuple, Self

LARGEST_HEAD = 1 << 16


class Answer(NamedTuple):
    """Status, header fields in lower case, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """Kept open from one request to the next."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Connect; raises OSError."""
        return cls(*await asyncio.open_connection(host, port, limit=LARGEST_HEAD))

    async def request(self, head: str, body: bytes = b"") -> Answer:
        """Send a request whose head lacks only its Content-Length, and read the whole answer."""
        status, headers = await self.begin(head, body)
        content = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(status, headers, content)

    async def begin(self, head: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
        """Send a request and read the head of the answer; what follows is left in ``reader``."""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self._writer.write(f"{head}{length}\r\n".encode() + body)
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        return int(first.split()[1]), {name.lower(): text.strip() for name, _, text in pairs}

    def close(self) -> None:
        """Close without ceremony."""
        self._writer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def head(method: str, path: str, key: str, **fields: str) -> str:
    """Request line and header fields, each ended; ``content_type`` becomes Content-Type."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {key}"]
    lines += [f"{name.replace('_', '-')}: {text}" for name, text in fields.items()]
    return "".join(line + "\r\n" for line in lines)
