"""An S3 server that takes its time: it sends an object in pieces, and may fall silent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = b"x" * 1000


class SlowS3(ThreadingHTTPServer):
    """Whatever is asked for is an object of ``pieces`` pieces.

    Args:
        pieces: length of every object, in pieces of ``PIECE``.
        pause_seconds: before each piece but the first.
        silent_after: pieces after which nothing more comes, until ``go_on`` is set.
    """

    daemon_threads = True

    def __init__(self, pieces: int, pause_seconds: float = 0.0, silent_after: int = -1) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pieces, self.pause_seconds, self.silent_after = pieces, pause_seconds, silent_after
        self.go_on = threading.Event()
        self.silent = threading.Semaphore(0)  # one for each answer that has fallen silent

    @property
    def settings(self) -> dict[str, str]:
        """Names of ``app.settings``."""
        return {
            "storage_url": "s3://bucket",
            "s3_endpoint": f"http://127.0.0.1:{self.server_port}",
            "s3_access_key_id": "id",
            "s3_secret_access_key": "secret",
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SlowS3

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(self.server.pieces * len(PIECE)))
        self.send_header("Last-Modified", "Sun, 22 Nov 2026 00:00:00 GMT")
        self.send_header("ETag", '"same"')
        self.end_headers()

    def do_GET(self) -> None:
        self.close_connection = True
        self.do_HEAD()
        for number in range(self.server.pieces):
            if number == self.server.silent_after:
                self.server.silent.release()
                self.server.go_on.wait(60)
                return
            if number and self.server.go_on.wait(self.server.pause_seconds):
                return
            self.wfile.write(PIECE)
            self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def slow_s3(pieces: int, pause_seconds: float = 0.0, silent_after: int = -1) -> Iterator[SlowS3]:
    """Serve until the end of the block."""
    server = SlowS3(pieces, pause_seconds, silent_after)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()
