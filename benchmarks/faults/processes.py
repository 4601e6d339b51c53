"""The service's own processes, started again when they die, as by an init system."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from worker.watchdog import signal_group

WATCH_SECONDS = 0.1
END_SECONDS = 60.0


@dataclass
class Member:
    """A process by its role; ``starts`` counts how often it was started."""

    name: str
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    said: int = field(default=0, repr=False)

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} was never started"
        return self.process.pid

    def is_ready(self, word: str) -> bool:
        """Whether it has said the word since it was last started."""
        with self.log.open("rb") as log:
            log.seek(self.said)
            return word.encode() in log.read()


class Members:
    """Keeps its members alive until ``end``."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._members: dict[str, Member] = {}
        self._thread = threading.Thread(target=self._watch, name="init", daemon=True)
        self._thread.start()

    def add(self, name: str, *module: str) -> Member:
        """Keep ``python -m module`` alive, its output in a file."""
        command = [sys.executable, "-m", *module]
        member = Member(name, command, self._folder / f"{name}.log")
        with self._lock:
            self._start(member)
            self._members[name] = member
        return member

    def restart(self, member: Member) -> None:
        """Have it end in good order; the watch starts it again."""
        os.kill(member.pid, signal.SIGTERM)

    def end(self) -> None:
        """Ask all to end, and kill what does not."""
        self._over.set()
        self._thread.join()
        for member in self._members.values():
            signal_group(member.pid, signal.SIGCONT)
            signal_group(member.pid, signal.SIGTERM)
        deadline = time.monotonic() + END_SECONDS
        for member in self._members.values():
            if member.process is not None:
                try:
                    member.process.wait(max(deadline - time.monotonic(), 0.1))
                except subprocess.TimeoutExpired:
                    signal_group(member.pid, signal.SIGKILL)
                    member.process.wait()

    def _watch(self) -> None:
        while not self._over.wait(WATCH_SECONDS):
            with self._lock:
                for member in self._members.values():
                    if member.process is not None and member.process.poll() is not None:
                        self._start(member)

    def _start(self, member: Member) -> None:
        with member.log.open("ab") as log:
            member.said = log.tell()
            member.process = subprocess.Popen(
                member.command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        member.starts += 1


def children_of(pid: int) -> list[int]:
    """Processes whose parent this is."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            after_name = (path / "stat").read_text().rpartition(")")[2]
        except OSError:
            continue  # ended meanwhile
        if int(after_name.split()[1]) == pid:
            found.append(int(path.name))
    return found


def lease_of(pid: int) -> str | None:
    """The token of the lease that a worker holds, read from the lock on its workspace."""
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = link.readlink()
            if target.name == ".lock" and target.parent.parent.name == "work":
                return target.parent.name
    except OSError:
        return None  # ended meanwhile
    return None
