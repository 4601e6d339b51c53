"""The Celery application: ``celery --app worker.celery_app worker --pool threads --concurrency 1``.

Messages only ring; SQL decides which job runs (``app.jobs.picking``). So a message is
acknowledged before the work begins: one that is acknowledged late would be delivered again, and
run again, while a long job still runs. What an early acknowledgement loses, the leases bring back.
"""

from typing import Any

from celery import Celery, signals
from kombu.entity import Queue

from app.kit import logs
from app.settings import Settings
from worker import housekeeping, shutdown

QUEUES = ("gpu", "cpu")


def build(settings: Settings) -> Celery:
    """A Celery application for the broker of the settings."""
    app = Celery("dcpi", broker=settings.broker_url, include=["worker.tasks"])
    app.conf.update(
        result_backend=None,  # SQL holds the results
        task_ignore_result=True,
        task_acks_late=False,
        worker_pool="threads",  # answers pings while a job runs, and may have child processes
        worker_concurrency=1,  # one job at a time: it has the GPU for itself
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # or a job would wait behind a running one
        broker_transport_options={
            "visibility_timeout": 3600,
            "global_keyprefix": "dcpi:",
            "socket_keepalive": True,
            "health_check_interval": 30,
        },
        task_serializer="json",
        accept_content=["json"],
        worker_hijack_root_logger=False,
        task_queues=_queues(settings.queue),
        task_default_queue=settings.queue,
        task_create_missing_queues=False,
        broker_connection_retry_on_startup=True,
        worker_send_task_events=True,
        task_send_sent_event=True,
        worker_soft_shutdown_timeout=shutdown.PATIENCE_SECONDS,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # a reconnect kills no job
    )
    return app


def _queues(own: str) -> list[Any]:
    names = dict.fromkeys((own, *QUEUES))
    return [Queue(name) for name in names]  # type: ignore[no-untyped-call]


@signals.setup_logging.connect
def _log_to_stderr(**_: Any) -> None:
    """In Celery's place, which would show warnings only."""
    logs.configure(Settings.read().log_format)


@signals.worker_ready.connect
def _keep_house(**_: Any) -> None:
    housekeeping.start()


@signals.worker_shutting_down.connect
def _stop_working(**_: Any) -> None:
    shutdown.REQUESTED.set()


celery_app = build(Settings.read())
