"""The kinds of faults: what each does, and how to see that the service has recovered from it."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError

from app.jobs.states import LEASED, TERMINAL
from app.kit.broker import Call
from app.kit.clock import now
from app.models import Job
from benchmarks.faults.processes import Member
from benchmarks.faults.proxy import Mode
from benchmarks.faults.schedule import Fault
from benchmarks.faults.servers import QUEUE_KEY
from benchmarks.faults.stack import Stack

TARGET_SECONDS = 60.0
POLL_SECONDS = 0.05

Found = TypeVar("Found")


@dataclass(frozen=True)
class Hit:
    """A fault that has happened and is over.

    Attributes:
        target: what it struck.
        hope: what will show that the service has recovered.
        recovered: whether it has.
    """

    target: str
    hope: str
    recovered: Callable[[], bool]


@dataclass(frozen=True)
class Kind:
    """Faults of this kind come one after the other with the others of their lane."""

    lane: str
    strike: Callable[[Stack, Fault], Hit]


class NoTarget(Exception):
    """For too long there was nothing that such a fault could strike."""


def supervisor_killed(stack: Stack, fault: Fault) -> Hit:
    """Kill -9 of a worker at work; its child ends with it."""
    worker, _, token = _busy(stack, fault)
    os.kill(worker.pid, signal.SIGKILL)
    return _lease_ends(stack, worker.name, token)


def child_killed(stack: Stack, fault: Fault) -> Hit:
    """Kill -9 of the process that does a job's work."""
    worker, child, token = _busy(stack, fault)
    os.kill(child, signal.SIGKILL)
    return _lease_ends(stack, f"child of {worker.name}", token)


def worker_terminated(stack: Stack, fault: Fault) -> Hit:
    """SIGTERM, as at a deployment."""
    worker, _, token = _busy(stack, fault)
    os.kill(worker.pid, signal.SIGTERM)
    return _lease_ends(stack, worker.name, token)


def worker_frozen(stack: Stack, fault: Fault) -> Hit:
    """A worker stands still for longer than its lease, then goes on as if nothing were."""
    worker, _, token = _busy(stack, fault)
    pid = worker.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(stack.settings.lease_seconds + fault.seconds)
    finally:
        os.kill(pid, signal.SIGCONT)
    return _lease_ends(stack, worker.name, token)


def lease_runs_out_early(stack: Stack, fault: Fault) -> Hit:
    """As by the clock of a machine that is an hour ahead: a live worker's lease is over."""
    worker, _, token = _busy(stack, fault)
    _move_lease(stack, token, -timedelta(hours=1))
    target = f"{worker.name} with {token}"
    return Hit(target, "let go, or put right", lambda: not stack.overdue(token))


def lease_runs_out_late(stack: Stack, fault: Fault) -> Hit:
    """As written by a machine whose clock is a few seconds ahead, which then dies."""
    worker, _, token = _busy(stack, fault)
    os.kill(worker.pid, signal.SIGSTOP)  # or its next heartbeat would put it right
    _move_lease(stack, token, timedelta(seconds=fault.seconds))
    os.kill(worker.pid, signal.SIGKILL)
    return _lease_ends(stack, worker.name, token)


def api_killed(stack: Stack, _: Fault) -> Hit:
    """Kill -9 of the API, in the midst of whatever it answers."""
    os.kill(stack.api.pid, signal.SIGKILL)
    return Hit("api", "it answers", stack.alive)


def broker_flushed(stack: Stack, _: Fault) -> Hit:
    """Every message is gone, those of Celery's own too."""
    stack.broker.client().flushall()
    return _nobody_waits(stack, "broker")


def broker_stopped(stack: Stack, fault: Fault) -> Hit:
    """Kill -9 of the broker, which is away for a while and comes back empty."""
    stack.broker.stop()
    time.sleep(fault.seconds)
    stack.broker.start()
    return Hit("broker", "/readyz says so", lambda: stack.ready("broker"))


def broker_restarted(stack: Stack, _: Fault) -> Hit:
    """As above, and back at once."""
    stack.broker.stop()
    stack.broker.start()
    return Hit("broker", "/readyz says so", lambda: stack.ready("broker"))


def message_duplicated(stack: Stack, fault: Fault) -> Hit:
    """Workers are rung three times more for a job that waits or runs."""
    job_id = _some_job(stack, fault)
    stack.bell()([Call(job_id, stack.settings.queue)] * 3)
    return _nobody_waits(stack, job_id)


def messages_lost(stack: Stack, _: Fault) -> Hit:
    """What waits on the queue is deleted."""

    def lost() -> int | None:
        return int(stack.broker.client().delete(QUEUE_KEY)) or None  # type: ignore[arg-type]

    _wait_for(lost, "a message")
    return _nobody_waits(stack, "queue")


def database_stopped(stack: Stack, fault: Fault) -> Hit:
    """The database is stopped at once, and is away for a while."""
    stack.database.stop()
    time.sleep(fault.seconds)
    stack.database.start()
    return Hit("database", "/readyz says so", lambda: stack.ready("sql"))


def database_restarted(stack: Stack, _: Fault) -> Hit:
    """As above, and started again at once."""
    stack.database.stop()
    stack.database.start()
    return Hit("database", "/readyz says so", lambda: stack.ready("sql"))


def storage_refuses(stack: Stack, fault: Fault) -> Hit:
    """Every request is answered by 503."""
    return _misbehave(stack, fault, Mode.REFUSE)


def storage_drops(stack: Stack, fault: Fault) -> Hit:
    """Connections end before a request has arrived."""
    return _misbehave(stack, fault, Mode.DROP)


def storage_answers_lost(stack: Stack, fault: Fault) -> Hit:
    """Requests are carried out, but nobody learns of it."""
    return _misbehave(stack, fault, Mode.SWALLOW)


def storage_slow(stack: Stack, fault: Fault) -> Hit:
    """Every piece of every answer comes a second late."""
    return _misbehave(stack, fault, Mode.DELAY)


KINDS: dict[str, Kind] = {
    "supervisor_killed": Kind("worker", supervisor_killed),
    "child_killed": Kind("worker", child_killed),
    "worker_terminated": Kind("worker", worker_terminated),
    "worker_frozen": Kind("worker", worker_frozen),
    "lease_runs_out_early": Kind("worker", lease_runs_out_early),
    "lease_runs_out_late": Kind("worker", lease_runs_out_late),
    "api_killed": Kind("api", api_killed),
    "broker_flushed": Kind("broker", broker_flushed),
    "broker_stopped": Kind("broker", broker_stopped),
    "broker_restarted": Kind("broker", broker_restarted),
    "message_duplicated": Kind("broker", message_duplicated),
    "messages_lost": Kind("broker", messages_lost),
    "database_stopped": Kind("database", database_stopped),
    "database_restarted": Kind("database", database_restarted),
    "storage_refuses": Kind("storage", storage_refuses),
    "storage_drops": Kind("storage", storage_drops),
    "storage_answers_lost": Kind("storage", storage_answers_lost),
    "storage_slow": Kind("storage", storage_slow),
}


def _busy(stack: Stack, fault: Fault) -> tuple[Member, int, str]:
    found = _wait_for(stack.busy, "a worker at work")
    return found[int(fault.pick * len(found))]


def _some_job(stack: Stack, fault: Fault) -> str:
    def unfinished() -> list[str]:
        statement = select(Job.id).where(Job.status.not_in(TERMINAL)).order_by(Job.id)
        return list(stack.look(lambda session: session.scalars(statement).all()))

    found = _wait_for(unfinished, "an unfinished job")
    return found[int(fault.pick * len(found))]


def _move_lease(stack: Stack, token: str, by: timedelta) -> None:
    ends = now() + timedelta(seconds=stack.settings.lease_seconds) + by
    held = update(Job).where(Job.lease_token == token, Job.status.in_(LEASED))

    def moved() -> bool:
        stack.change(lambda session: session.execute(held.values(lease_expires_at=ends)))
        return True

    _wait_for(moved, "the database")


def _misbehave(stack: Stack, fault: Fault, mode: Mode) -> Hit:
    stack.proxy.mode = mode
    try:
        time.sleep(fault.seconds)
    finally:
        stack.proxy.mode = Mode.PASS
    return Hit("storage", "/readyz says so", lambda: stack.ready("storage"))


def _lease_ends(stack: Stack, target: str, token: str) -> Hit:
    return Hit(f"{target} with {token}", "the job is let go", lambda: stack.lost(token))


def _nobody_waits(stack: Stack, target: str) -> Hit:
    """The jobs that wait now will be claimed, or end."""
    try:
        waiting = stack.look(
            lambda session: session.scalars(select(Job.id).where(Job.status == "queued")).all()
        )
    except DBAPIError:
        waiting = []
    if not waiting:
        return Hit(target, "no job waited", lambda: True)
    oldest = min(waiting)

    def claimed() -> bool:
        try:
            status = stack.look(lambda s: s.scalar(select(Job.status).where(Job.id == oldest)))
        except DBAPIError:
            return False
        return status != "queued"

    return Hit(target, f"{oldest} is claimed", claimed)


def _wait_for(look: Callable[[], Found], what: str) -> Found:
    deadline = time.monotonic() + TARGET_SECONDS
    while True:
        try:
            found = look()
        except DBAPIError:  # the database is away, by another fault
            found = None
        if found:
            return found
        if time.monotonic() > deadline:
            raise NoTarget(f"{what}: none for {TARGET_SECONDS:g} s")
        time.sleep(POLL_SECONDS)
