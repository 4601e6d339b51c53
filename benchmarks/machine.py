"""What every benchmark records about where and with what it ran."""

import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from dcpi_core import __version__
from dcpi_core.compute import Runtime, machine


def commit() -> str:
    """The commit checked out, abbreviated; empty outside a repository."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return found.stdout.strip()


def describe(runtime: Runtime) -> dict[str, Any]:
    """Machine, versions and commit, as JSON."""
    return {
        "machine": machine(),
        "device": str(runtime.device),
        "threads": runtime.threads,
        "engine": runtime.description,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "dcpi": __version__,
        "commit": commit(),
    }
