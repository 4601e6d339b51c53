"""A TCP proxy that can be told to misbehave; stands between the service and its object storage."""

import socket
import threading
import time
from contextlib import closing, suppress
from enum import StrEnum

CHUNK_BYTES = 1 << 16
CONNECT_SECONDS = 5.0
UNAVAILABLE = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Mode(StrEnum):
    """What becomes of the bytes."""

    PASS = "pass"
    REFUSE = "refuse"  # each request is answered by 503, and goes no further
    DROP = "drop"  # connections end before anything has arrived
    SWALLOW = "swallow"  # requests arrive, their answers do not
    DELAY = "delay"  # every piece of an answer comes ``DELAY_SECONDS`` late


DELAY_SECONDS = 1.0


class Proxy:
    """Listens on a free port of this machine and speaks for the server on ``target_port``.

    A mode holds for connections that are open as well as for new ones.
    """

    def __init__(self, target_port: int) -> None:
        self.mode = Mode.PASS
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def close(self) -> None:
        """Take no more connections; those that are open end with their peers."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, CONNECT_SECONDS)
        except OSError:
            client.close()
            return
        with closing(client), closing(server):
            server.settimeout(None)
            back = threading.Thread(target=self._answers, args=(server, client), daemon=True)
            back.start()
            self._requests(client, server)
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            back.join()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while piece := client.recv(CHUNK_BYTES):
                if self.mode is Mode.DROP:
                    return
                if self.mode is Mode.REFUSE:
                    client.sendall(UNAVAILABLE)
                    return
                server.sendall(piece)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while piece := server.recv(CHUNK_BYTES):
                if self.mode in (Mode.DROP, Mode.SWALLOW):
                    break
                if self.mode is Mode.DELAY:
                    time.sleep(DELAY_SECONDS)
                client.sendall(piece)
            client.shutdown(socket.SHUT_RDWR)
