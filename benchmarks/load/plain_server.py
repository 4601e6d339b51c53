"""A plain file server to compare with: ``http.server`` that sends files and ranges by sendfile."""

import functools
import http.server
import re
import sys
from pathlib import Path


class SendFile(http.server.SimpleHTTPRequestHandler):
    """Answers GET of a file, whole or a single range."""

    def do_GET(self) -> None:
        """Send the file without copying it through this process."""
        with Path(self.translate_path(self.path)).open("rb") as file:
            size = Path(file.name).stat().st_size
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            first, last = (int(wanted[1]), int(wanted[2])) if wanted else (0, size - 1)
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(last - first + 1))
            self.end_headers()
            self.wfile.flush()
            self.connection.sendfile(file, first, last - first + 1)


if __name__ == "__main__":
    handler = functools.partial(SendFile, directory=sys.argv[1])
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), handler).serve_forever()
