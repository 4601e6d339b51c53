"""Processes that live and end together: started, restarted when they die, stopped in order."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.watchdog import signal_group

WATCH_SECONDS = 0.5
MAX_DEATHS = 4
"""Deaths within ``FORGIVEN_SECONDS`` that a member is restarted after."""
FORGIVEN_SECONDS = 60.0


@dataclass
class Member:
    """One process. It leads a session of its own, so that Ctrl-C reaches only the head.

    Attributes:
        log: file that its output is appended to.
        tier: members of the highest tier are stopped first, and together.
        patience: seconds it may take to end.
    """

    name: str
    command: Sequence[str]
    log: Path
    tier: int
    patience: float = 10.0
    deaths: list[float] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        """Start it, its output appended to the log; returns its process group."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.process.pid

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


class Family:
    """Its members, from their start to their end.

    Args:
        tell: receives a line for the user, such as that a member was restarted.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.failed: Member | None = None
        self._tell = tell
        self._members: list[Member] = []
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._watchdog = subprocess.Popen(
            [sys.executable, "-m", "worker.watchdog"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        self._thread = threading.Thread(target=self._keep_alive, daemon=True)

    def add(self, member: Member) -> None:
        """Start a member."""
        with self._lock:
            self._start(member)
            self._members.append(member)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join()
        for tier in sorted({member.tier for member in self._members}, reverse=True):
            self._stop([member for member in self._members if member.tier == tier])
        if self._watchdog.stdin is not None:
            self._watchdog.stdin.close()
        self._watchdog.wait()

    def _keep_alive(self) -> None:
        while not self._ending.wait(WATCH_SECONDS):
            with self._lock:
                for member in self._members:
                    if member.process is not None and member.process.poll() is not None:
                        self._mourn(member, member.process.returncode)

    def _mourn(self, member: Member, code: int) -> None:
        self._forget(member)
        now = time.monotonic()
        member.deaths = [t for t in member.deaths if now - t < FORGIVEN_SECONDS] + [now]
        if len(member.deaths) > MAX_DEATHS:
            member.process, self.failed = None, member
            return
        self._tell(f"{member.name} ended with code {code} and is started again")
        self._start(member)

    def _start(self, member: Member) -> None:
        self._say_to_watchdog(f"+{member.start()}")

    def _stop(self, tier: Sequence[Member]) -> None:
        for member in tier:
            if member.process is not None:
                signal_group(member.process.pid, signal.SIGTERM)
        for member in tier:
            if member.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    member.process.wait(member.patience)
                signal_group(member.process.pid, signal.SIGKILL)
                member.process.wait()
                self._forget(member)

    def _forget(self, member: Member) -> None:
        if member.process is not None:
            signal_group(member.process.pid, signal.SIGKILL)  # whatever it left behind
            self._say_to_watchdog(f"-{member.process.pid}")

    def _say_to_watchdog(self, line: str) -> None:
        if self._watchdog.stdin is not None:
            self._watchdog.stdin.write(line + "\n")
            self._watchdog.stdin.flush()
