"""The broker as the API sees it: a bell to ring. Workers' side is in ``worker.celery_app``."""

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

RUN_JOB = "worker.tasks.run_job"


class Bell:
    """Publishes the message that makes a worker look at a job."""

    def __init__(self, broker_url: str) -> None:
        self.broker_url = broker_url

    @cached_property
    def _celery(self) -> "Celery":
        from celery import Celery  # noqa: PLC0415 - a tenth of the start-up, needed first to send

        celery = Celery(broker=self.broker_url, set_as_current=False)
        celery.conf.update(
            task_ignore_result=True,
            task_serializer="json",
            broker_transport_options={
                "global_keyprefix": "dcpi:",
                "socket_connect_timeout": 2,
                "socket_timeout": 5,
                "max_retries": 0,  # the outbox tries again; nobody waits here
            },
            broker_connection_timeout=2,
        )
        return celery

    def __call__(self, job_id: str, queue: str) -> None:
        """Send the message; raises if the broker cannot be reached."""
        self._celery.send_task(RUN_JOB, args=[job_id], queue=queue, retry=False)

    def check(self) -> None:
        """Raise if the broker cannot be reached."""
        with self._celery.connection_for_write(connect_timeout=2) as connection:
            connection.ensure_connection(max_retries=0, timeout=2)
