"""A tenant at `max_running_jobs`: what waits begins when a place comes free, without a reminder."""

import itertools
import queue
import threading
from dataclasses import replace

from sqlalchemy import update

from app.kit.broker import Bell
from app.models import Job, Tenant
from tests.worker.waiting import until


class Broker(Bell):
    """Keeps messages in memory; each is taken once."""

    def __init__(self) -> None:
        super().__init__("")
        self.messages: queue.Queue[str] = queue.Queue()

    def __call__(self, calls) -> None:
        for call in calls:
            self.messages.put(call.job_id)

    def taken_by(self, supervisor, over: threading.Event) -> threading.Thread:
        """A worker: runs what it is called for, until it is over."""

        def work() -> None:
            while not over.is_set():
                try:
                    supervisor.run(self.messages.get(timeout=0.05))
                except queue.Empty:
                    continue

        thread = threading.Thread(target=work)
        thread.start()
        return thread


def test_two_workers_keep_the_only_place_of_a_tenant_busy(desk):
    broker, over = Broker(), threading.Event()
    desk.tools = replace(desk.tools, bell=broker)
    desk.write_bundle()
    desk.change(lambda session: session.execute(update(Tenant).values(max_running_jobs=1)))
    jobs = [desk.submit(seed=seed) for seed in range(4)]
    for job_id in jobs:
        broker.messages.put(job_id)
    workers = [broker.taken_by(desk.supervisor("finish"), over) for _ in range(2)]
    try:
        until(lambda: all(desk.job(job_id).status == "succeeded" for job_id in jobs))
    finally:
        over.set()
        for worker in workers:
            worker.join()
    spans = sorted((row.started_at, row.ended_at) for job in jobs for row in desk.attempts(job))
    assert len(spans) == 4
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(spans))


def test_a_job_that_has_to_pause_leaves_its_place_to_another(desk):
    patient = desk.tools.settings.model_copy(update={"retry_seconds": 60.0})
    desk.tools = replace(desk.tools, settings=patient)
    desk.change(lambda session: session.execute(update(Tenant).values(max_running_jobs=1)))
    broken, waiting = desk.submit(seed=1), desk.submit(seed=2)
    desk.run("crash", broken)
    assert desk.job(broken).not_before is not None
    assert desk.rung() == [waiting]


def test_every_queue_with_jobs_of_the_tenant_is_called_for(desk):
    desk.change(lambda session: session.execute(update(Tenant).values(max_running_jobs=1)))
    first, same, other = (desk.submit(seed=seed) for seed in range(3))
    elsewhere = update(Job).where(Job.id == other).values(queue="cpu")
    desk.change(lambda session: session.execute(elsewhere))
    desk.run("fault", first)
    assert sorted(desk.rung()) == sorted([same, other])


def test_without_a_limit_every_job_has_a_message_of_its_own(desk):
    first, _ = desk.submit(seed=1), desk.submit(seed=2)
    desk.run("fault", first)
    assert desk.rung() == []
