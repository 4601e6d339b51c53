"""Shared by all tests: few threads, no network, and a plain word on what could not be run here."""

import ipaddress
import os
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.servers import postgres_url, s3_settings, valkey_url

__all__ = ["postgres_url", "s3_settings", "valkey_url"]

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

# Set before torch is loaded, and inherited by the processes that tests start.
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, min(2, (os.cpu_count() or 1) // PROCESSES))))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path | None:
    """Real images to measure on, ``../shared/data``; None where they are not there."""
    return _present(SHARED_DATA)


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Any:
    """Refuse connections that would leave this machine."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def refusing(original: Any) -> Any:
        def guarded(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
                raise ConnectionRefusedError(f"tests stay on this machine; tried {address}")
            return original(self, address)

        return guarded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refusing(connect))
        patch.setattr(socket.socket, "connect_ex", refusing(connect_ex))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The longest first: of several processes none has them left when the others are done.
    items.sort(key=lambda item: "end_to_end" not in item.path.parts)
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not _cuda_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.not_run = _reason(item)  # goes with the report to the process that sums up
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    missing = Counter(report.not_run for report in skipped if hasattr(report, "not_run"))
    if missing:
        terminalreporter.section("not run here")
        for reason, count in sorted(missing.items()):
            terminalreporter.line(f"{count} tests: {reason}")


def _reason(item: pytest.Item) -> str:
    names: tuple[str, ...] = getattr(item, "fixturenames", ())
    if item.get_closest_marker("gpu"):
        return "no CUDA device"
    if "shared_data" in names and _present(SHARED_DATA) is None:
        return "no ../shared/data beside the repository"
    return "skipped for the reason given above"


def _present(path: Path) -> Path | None:
    return path if path.is_dir() else None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _cuda_available() -> bool:
    import torch

    return torch.cuda.is_available()
