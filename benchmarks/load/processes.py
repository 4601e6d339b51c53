"""Memory and processor time of processes, from Linux's /proc."""

import contextlib
import os
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


def family(root: int) -> list[int]:
    """A process and everything that it has started, as far as it is alive."""
    found, parents = [root], _parents()
    for pid in found:  # grows while it is walked
        found += [child for child, parent in parents.items() if parent == pid]
    return [pid for pid in found if pid in parents]


def resident_bytes(root: int) -> int:
    """Memory of a family that is in RAM; pages that several share are counted for each."""
    total = 0
    for pid in family(root):
        total += int(_read(pid, "statm").split()[1]) * PAGE_BYTES
    return total


def processor_seconds(root: int) -> float:
    """User and system time of a family, ended children included."""
    ticks = 0
    for pid in family(root):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            fields = _read(pid, "stat").rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS


def _parents() -> dict[int, int]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
    return found


def _read(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8")
