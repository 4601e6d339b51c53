"""A worker over SQLite and a local directory, whose child is a script of the tests' own."""

import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from app.jobs import attempts, control, repository
from app.jobs.events import events_after
from app.jobs.submission import submit
from app.kit.broker import Bell, Call
from app.kit.db import unit_of_work
from app.kit.tenancy import bound
from app.migrate import upgrade
from app.models import DEFAULT_TENANT, Attempt, Condensed, Job, JobEvent, OutboxMessage
from app.settings import Settings
from dcpi_core.spec.job import JobSubmission
from dcpi_core.spec.report import Arm, ByteCount, Environment, Report
from worker.attempt import Patience
from worker.supervisor import Supervisor
from worker.tools import Tools

FAKE_CHILD = Path(__file__).with_name("fake_child.py")
REQUEST = {
    "dataset": "digits",
    "images_per_class": 1,
    "base_method": "random",
    "pi_type": "none",
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home",
        lease_seconds=20,
        heartbeat_seconds=0.2,
        max_attempts=2,
        retry_seconds=0,
    )


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with all tables, made once and copied for each test."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def tools(settings: Settings, empty_database: Path) -> Iterator[Tools]:
    settings.home.mkdir()
    shutil.copy(empty_database, settings.home / "dcpi.db")
    found = replace(Tools.from_settings(settings), bell=BrokenBell(""))
    yield found
    found.sessions.kw["bind"].dispose()


class BrokenBell(Bell):
    """A broker that is away, so that messages can be seen in the outbox."""

    def __call__(self, calls: Sequence[Call]) -> None:
        raise ConnectionError("no broker here")

    def unheard(self, queues: Iterable[str]) -> dict[str, int]:
        return dict.fromkeys(queues, 0)


@pytest.fixture
def desk(tools: Tools, tmp_path: Path) -> "Desk":
    return Desk(tools, tmp_path)


class Desk:
    """What a test does with a worker: submit, run, look."""

    def __init__(self, tools: Tools, folder: Path) -> None:
        self.tools = tools
        self.folder = folder
        self.stop = threading.Event()

    def submit(self, **changes) -> str:
        request = JobSubmission.model_validate(REQUEST | changes)
        with unit_of_work(bound(self.tools.sessions, DEFAULT_TENANT)) as session:
            job, _ = submit(session, self.tools.settings, request)
            session.query(OutboxMessage).delete()
            return str(job["id"])

    def supervisor(self, scene: str, **patience) -> Supervisor:
        """One whose child plays the scene of ``fake_child.py``."""
        command = [sys.executable, str(FAKE_CHILD), scene, str(self.folder)]
        waits = Patience(**{"silent": 30.0, "preempted": 3.0} | patience)
        return Supervisor(self.tools, command, self.stop, waits)

    def run(self, scene: str, job_id: str | None = None, **patience) -> str:
        job_id = job_id or self.submit()
        self.supervisor(scene, **patience).run(job_id)
        return job_id

    def run_aside(self, scene: str, job_id: str, **patience) -> threading.Thread:
        supervisor = self.supervisor(scene, **patience)
        thread = threading.Thread(target=supervisor.run, args=(job_id,))
        thread.start()
        return thread

    def change(self, act: Callable[..., object]) -> None:
        with unit_of_work(self.tools.sessions) as session:
            act(session)

    def cancel(self, job_id: str) -> None:
        self.change(lambda session: control.cancel(session, job_id))

    def job(self, job_id: str) -> Job:
        with unit_of_work(self.tools.sessions) as session:
            return repository.get(session, job_id)

    def events(self, job_id: str, kind: str | None = None) -> list[JobEvent]:
        with unit_of_work(self.tools.sessions) as session:
            found = events_after(session, job_id, 0, 10_000)
        return [event for event in found if kind in (None, event.type)]

    def attempts(self, job_id: str) -> list[Attempt]:
        with unit_of_work(self.tools.sessions) as session:
            return attempts.of_job(session, job_id)

    def logged(self, job_id: str) -> list[str]:
        return [event.data["message"] for event in self.events(job_id, "log")]

    def condensed(self) -> list[Condensed]:
        with unit_of_work(self.tools.sessions) as session:
            return list(session.scalars(select(Condensed)))

    def rung(self) -> list[str]:
        with unit_of_work(self.tools.sessions) as session:
            return list(session.scalars(select(OutboxMessage.job_id)))

    def objects(self, prefix: str) -> list[str]:
        return self.tools.storage.keys(prefix)

    def workspaces(self) -> list[Path]:
        return list((self.tools.settings.home / "work").glob("*"))

    def starts(self) -> int:
        """How many children were started."""
        return len(list(self.folder.glob("started-*")))

    def write_bundle(self) -> Path:
        """A bundle for the fake child to hand in."""
        bundle = self.folder / "bundle"
        (bundle / "previews").mkdir(parents=True, exist_ok=True)
        (bundle / "report.json").write_text(report().model_dump_json())
        (bundle / "manifest.json").write_text('{"format": "dcpi-condensed/1"}')
        (bundle / "data.safetensors").write_bytes(b"tensors")
        (bundle / "previews" / "grid.png").write_bytes(b"picture")
        return bundle


def report() -> Report:
    arms = tuple(
        Arm(
            name=name,
            title=name,
            network="ConvNetD2",
            num_images=10,
            train_bytes=100,
            runs=(value, value),
            per_class=(value,) * 10,
        )
        for name, value in (("random", 0.5), ("base", 0.75))
    )
    return Report(
        protocol="dc",
        epochs=1,
        seeds=(0, 1),
        num_test=360,
        arms=arms,
        differences=(),
        bytes=ByteCount(images=90, labels=10, privileged={}),
        seconds={},
        environment=Environment(
            dcpi="0", python="3", torch="2", machine="m", device="cpu", threads=1, engine="e"
        ),
    )
