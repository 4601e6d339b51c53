"""The broker as the API sees it: a bell to ring. Workers' side is in ``worker.celery_app``."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from celery import Celery

RUN_JOB = "worker.tasks.run_job"


class Call(NamedTuple):
    """What a message says: there is work on this queue, and this job is why."""

    job_id: str
    queue: str


class Bell:
    """Publishes the messages that make workers look at jobs."""

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

    def __call__(self, calls: Sequence[Call]) -> None:
        """Send a message for each call: in one round trip, where the broker is Redis or Valkey.

        Raises if the broker cannot be reached; some messages may then have been sent.
        """
        celery = self._celery
        with celery.producer_or_acquire() as producer, producer.batch():
            for job_id, queue in calls:
                celery.send_task(
                    RUN_JOB, args=[job_id], queue=queue, retry=False, producer=producer
                )

    def unheard(self, queues: Iterable[str]) -> dict[str, int]:
        """How many calls on each of these queues no worker has taken yet.

        Raises if the broker cannot be reached.
        """
        celery = self._celery
        with celery.producer_or_acquire() as producer:
            # Declared as they are before each call: to ask only, kombu looks for a queue of Redis
            # under its name without our prefix.
            found = {name: celery.amqp.queues[name](producer.channel) for name in queues}
            return {name: int(it.queue_declare().message_count) for name, it in found.items()}

    def check(self) -> None:
        """Raise if the broker cannot be reached."""
        with self._celery.connection_for_write(connect_timeout=2) as connection:
            connection.ensure_connection(max_retries=0, timeout=2)
