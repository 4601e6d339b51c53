"""What the kernel did to processes of this machine."""

from pathlib import Path

VMSTAT = Path("/proc/vmstat")
COUNTER = "oom_kill"


def out_of_memory_kills(vmstat: Path = VMSTAT) -> int | None:
    """Processes killed for want of memory since the machine started; None where nobody counts.

    Kills at the limit of a container are among them (Linux 4.13 and later).
    """
    try:
        lines = vmstat.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    counts = dict(line.split(maxsplit=1) for line in lines if " " in line)
    return int(counts[COUNTER]) if COUNTER in counts else None
