"""The whole service on one machine: ``python -m worker.local``, also known as ``dcpi serve``.

Starts a private broker (unless ``DCPI_BROKER_URL`` names one), brings the tables up to date, and
runs the API and the workers as processes of their own. All state is below ``DCPI_HOME``.
"""

import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Never

import httpx
import typer

from app.access.policy import keys_required
from app.migrate import upgrade
from app.settings import Settings
from dcpi_core.cli.screen import err, out
from dcpi_core.spec.errors import InvalidInput
from worker import demo as demonstration
from worker.family import Family, Member
from worker.shutdown import PATIENCE_SECONDS

READY_SECONDS = 60.0
POLL_SECONDS = 0.2
BROKER, API, WORKERS = range(3)


class NotReady(Exception):
    """The service did not come up; the message holds the last words of who is to blame."""


class LocalService:
    """Broker, API and workers of one machine.

    Args:
        settings: what the environment says.
        host: address to listen on.
        port: wanted port; another one is taken if it is busy.

    Raises:
        NotReady: the service may not listen there without API keys, or there is no free port.
    """

    def __init__(self, settings: Settings, host: str, port: int, workers: int) -> None:
        self.settings = settings
        self.host, self.workers = host, workers
        try:
            self.takes_keys = keys_required(settings.model_copy(update={"host": host}))
        except ValueError as error:
            raise NotReady(str(error)) from None
        self.port = free_port(host, port)
        self.logs = settings.home.absolute() / "logs"
        self._environment: list[str] = []

    @property
    def address(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @contextmanager
    def running(self) -> Iterator[Family]:
        """Everything started and ready; everything gone afterwards."""
        with (
            tempfile.TemporaryDirectory(prefix="dcpi-") as sockets,
            Family(_say) as family,
        ):
            # A path of a socket must be short, so it is not below home.
            self._add_broker(family, Path(sockets) / "valkey.sock")
            upgrade(self.settings.resolved_database_url)
            self._add_api(family)
            for number in range(1, self.workers + 1):
                self._add_worker(family, number)
            self._wait_until_ready(family)
            yield family

    def _add_broker(self, family: Family, socket_file: Path) -> None:
        if "broker_url" in self.settings.model_fields_set:
            return
        self._environment = [f"DCPI_BROKER_URL=redis+socket://{socket_file}"]
        directory = self.settings.home.absolute() / "valkey"
        module = ["worker.private_broker", str(socket_file), str(directory)]
        self._add(family, "broker", module, BROKER)
        _wait(socket_file.exists, family)

    def _add_api(self, family: Family) -> None:
        # Where it listens decides whether it asks for keys.
        self._environment.append(f"DCPI_HOST={self.host}")
        options = [f"--host={self.host}", f"--port={self.port}", "--timeout-graceful-shutdown=5"]
        options += ["--no-access-log"]  # the application writes its own, with request ids
        self._add(family, "api", ["uvicorn", "app.main:create_app", "--factory", *options], API)

    def _add_worker(self, family: Family, number: int) -> None:
        options = ["--pool=threads", "--concurrency=1", f"--queues={self.settings.queue}"]
        options += [f"--hostname=worker-{number}@%h", "--without-mingle", "--without-gossip"]
        module = ["celery", "--app=worker.celery_app", "worker", *options]
        self._add(family, f"worker-{number}", module, WORKERS, PATIENCE_SECONDS + 5.0)

    def _add(
        self, family: Family, name: str, module: list[str], tier: int, patience: float = 10.0
    ) -> None:
        command = ["env", *self._environment, sys.executable, "-m", *module]
        family.add(Member(name, command, self.logs / f"{name}.log", tier, patience))

    def _wait_until_ready(self, family: Family) -> None:
        _wait(lambda: _answers(f"{self.address}/readyz"), family)


def free_port(host: str, wanted: int) -> int:
    """The wanted port if nobody listens on it, otherwise another one; raises NotReady if none."""
    reason: OSError | None = None
    for port in (wanted, 0):
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                return int(probe.getsockname()[1])
        except OSError as error:
            reason = error
    raise NotReady(f"no port of {host} can be listened on: {reason}")


def serve(
    demo: Annotated[bool, typer.Option("--demo", help="run one small job and show it")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="go on serving after the demo")] = False,
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="another is taken if it is busy")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="jobs that run at the same time")] = 1,
    target: Annotated[
        Path | None, typer.Option("--out", help="directory of the demo's bundle")
    ] = None,
) -> None:
    """Run the whole service on this machine until Ctrl-C. Settings: docs/deploy.md."""
    signal.signal(signal.SIGTERM, _leave)
    try:
        settings = Settings.read()
        wanted = settings.port if port is None else port
        service = LocalService(settings, host or settings.host, wanted, workers)
        if wanted not in (0, service.port):
            _say(f"port {wanted} is busy; taking {service.port}")
        if demo and service.takes_keys:
            raise NotReady("the demo has no API key: listen on 127.0.0.1, without DCPI_AUTH=on")
        with service.running() as family:
            good = True
            if demo:
                good = demonstration.run(service.address, target or settings.home / "demo")
            if keep or not demo:
                _say(f"API: {service.address}/docs   logs: {service.logs}   stop: Ctrl-C")
                with suppress(KeyboardInterrupt, Stop):
                    _wait_forever(family)
                _say("stopping; a running job is put back into the queue")
    except (NotReady, InvalidInput) as error:
        err().print(f"error: {error}", style="red", markup=False)
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, Stop):
        raise typer.Exit(130) from None
    raise typer.Exit(0 if good else 1)


class Stop(BaseException):
    """SIGTERM, as an exception like that of Ctrl-C."""


def _leave(*_: object) -> Never:
    raise Stop


def _say(line: str) -> None:
    out().print(line, markup=False)


def _answers(url: str) -> bool:
    try:
        # Not by a proxy that the environment may name: it is this machine that is asked.
        return httpx.get(url, timeout=5, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _wait(ready: Callable[[], bool], family: Family) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not ready():
        _check(family)
        if time.monotonic() > deadline:
            raise NotReady(f"the service was not ready after {READY_SECONDS:g} s; see its logs")
        time.sleep(POLL_SECONDS)


def _wait_forever(family: Family) -> None:
    while True:
        _check(family)
        time.sleep(POLL_SECONDS)


def _check(family: Family) -> None:
    failed = family.failed
    if failed is not None:
        raise NotReady(f"{failed.name} ends again and again; {failed.log}:\n{failed.last_words()}")


if __name__ == "__main__":
    typer.run(serve)
