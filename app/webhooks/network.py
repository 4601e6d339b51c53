"""Connections for webhooks: looked up, checked and opened in one go, and over in time.

The name is resolved once for each connection and the socket is opened to the very address that was
checked, so a name that changes its address between check and use gains nothing.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import httpcore
from httpcore import ConnectError, NetworkBackend, NetworkStream, ReadTimeout, SyncBackend

from app.webhooks.addresses import is_public

LOST = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError)
"""What ``post`` raises where no answer came."""
Resolve = Callable[[str, int], list[str]]
"""Addresses of a host, for a connection to a port."""


class ForbiddenTarget(ConnectError):
    """The target's name leads to an address that webhooks may not reach."""


def resolve(host: str, port: int) -> list[str]:
    """What the system's resolver says; raises OSError, or UnicodeError where it is no name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class GuardedBackend(NetworkBackend):
    """Opens sockets to allowed addresses only.

    Args:
        seconds: for everything, from the look-up to the last byte.
        allowed: whether an address may be reached.
        look_up: the resolver.
    """

    def __init__(
        self,
        seconds: float,
        allowed: Callable[[str], bool] = is_public,
        look_up: Resolve = resolve,
    ) -> None:
        self._deadline = time.monotonic() + seconds
        self._allowed = allowed
        self._look_up = look_up
        self._plain = SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> NetworkStream:
        try:
            addresses = self._look_up(host, port)
        except (OSError, UnicodeError) as error:  # the latter where no name can look like this
            raise ConnectError(f"{host} cannot be looked up ({error})") from error
        # One forbidden address among several is enough: nobody needs to mix them.
        forbidden = [address for address in addresses if not self._allowed(address)]
        if forbidden or not addresses:
            raise ForbiddenTarget(f"{host} leads to an address that webhooks may not reach")
        left = _left(self._deadline)
        stream = self._plain.connect_tcp(
            addresses[0], port, left, local_address, socket_options or ()
        )
        return _Bounded(stream, self._deadline)


class _Bounded(NetworkStream):
    """A stream whose reads and writes together end before a deadline."""

    def __init__(self, stream: NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> NetworkStream:
        left = _left(self._deadline)
        return _Bounded(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise ReadTimeout("the receiver took too long")
    return left


def post(url: str, headers: Mapping[str, str], body: bytes, backend: NetworkBackend) -> int:
    """Send a message; returns the HTTP status. Redirects are not followed, the body is not read.

    Raises:
        LOST: no answer came.
    """
    with (
        httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(), network_backend=backend
        ) as pool,
        pool.stream("POST", url, headers=list(headers.items()), content=body) as response,
    ):
        return int(response.status)
