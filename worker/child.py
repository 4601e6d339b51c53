"""One runner process as its supervisor sees it: lines that come out, and ways to end it."""

import contextlib
import logging
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import IO

from pydantic import ValidationError

from worker.protocol import AnyOrder, Line, parse_line

logger = logging.getLogger(__name__)

LONGEST_LINE_BYTES = 1 << 20
LAST_WORDS = 20
POLL_SECONDS = 0.05
JOIN_SECONDS = 3.0
"""For all that was said to be read: a machine under load may take its time."""


class Child:
    """A process in a session of its own, so that a signal reaches all that it started."""

    def __init__(self, command: Sequence[str], order: AnyOrder) -> None:
        self.last_words: deque[str] = deque(maxlen=LAST_WORDS)
        self._lines: queue.SimpleQueue[Line] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        # Threads, since a pipe that nobody empties or fills blocks the one who waits on it.
        text = order.model_dump_json().encode() + b"\n"
        self._sender = threading.Thread(target=self._send, args=(text,), daemon=True)
        self._threads = [
            threading.Thread(target=self._read_lines, daemon=True),
            threading.Thread(target=self._read_words, daemon=True),
            self._sender,
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def next_line(self, timeout: float) -> Line | None:
        """The next message, or None if none comes in time."""
        try:
            return self._lines.get(timeout=timeout)
        except queue.Empty:
            return None

    def rest(self) -> list[Line]:
        """Messages not taken yet; complete once the child has been collected."""
        found = []
        while not self._lines.empty():
            found.append(self._lines.get())
        return found

    def ended(self) -> bool:
        """Whether the process is over; its id stays reserved until it is collected."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return self._process.returncode is not None or bool(os.waitid(os.P_PID, self.pid, options))

    def send(self, number: signal.Signals) -> None:
        """Signal the whole process group."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Whether it ends within this time."""
        deadline = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def collect(self) -> int:
        """Kill whatever is left of the group, and return the exit code (negative: a signal)."""
        self.send(signal.SIGKILL)
        code = self._process.wait()
        # A process that left the group may hold our pipes open: do not wait for its end. Each
        # reader closes its own pipe when it has read all.
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        if not self._sender.is_alive():
            with contextlib.suppress(OSError):
                _present(self._process.stdin).close()
        return code

    def _send(self, order: bytes) -> None:
        # Left open on purpose: the pipe's end tells the child that its supervisor is gone.
        stdin = _present(self._process.stdin)
        with contextlib.suppress(OSError, ValueError):
            stdin.write(order)
            stdin.flush()

    def _read_lines(self) -> None:
        with _present(self._process.stdout) as stdout:
            while line := stdout.readline(LONGEST_LINE_BYTES):
                try:
                    self._lines.put(parse_line(line))
                except ValidationError:
                    logger.warning("child %d said something else: %r", self.pid, line[:200])

    def _read_words(self) -> None:
        with _present(self._process.stderr) as stderr:
            while line := stderr.readline(LONGEST_LINE_BYTES):
                text = line.decode(errors="replace").rstrip()
                self.last_words.append(text)
                logger.info("child %d: %s", self.pid, text)


def _present(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # all three are pipes
    return stream
