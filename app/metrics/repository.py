"""What the database knows about the service as a whole; every process answers the same."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.jobs.leftovers import due
from app.jobs.states import Status
from app.kit.clock import as_utc, now
from app.kit.exposition import Metric, Sample
from app.models import Attempt, Erasure, Job, OutboxMessage, WebhookDelivery


def metrics(session: Session) -> list[Metric]:
    """Jobs, queues, attempts, and whatever waits to be sent or deleted."""
    queued = Job.status == Status.QUEUED
    undelivered = WebhookDelivery.next_at.is_not(None)
    attempts = select(
        func.coalesce(Attempt.outcome, ""), func.coalesce(Attempt.code, ""), func.count()
    )
    return [
        Metric("jobs", "gauge", "Jobs by state.", _jobs_by_state(session)),
        Metric("queue_depth", "gauge", "Queued jobs.", _by_queue(session, func.count())),
        Metric(
            "queue_oldest_seconds",
            "gauge",
            "How long the oldest queued job has waited.",
            [
                Sample(_age(oldest), {"queue": queue})
                for queue, oldest in session.execute(
                    select(Job.queue, func.min(Job.queued_at)).where(queued).group_by(Job.queue)
                )
            ],
        ),
        Metric(
            "attempts",
            "gauge",
            "Ended attempts by the state they left the job in, and why; deleted jobs do not count.",
            [
                Sample(count, {"outcome": outcome, "code": code})
                for outcome, code, count in session.execute(
                    attempts.where(Attempt.ended_at.is_not(None)).group_by(
                        Attempt.outcome, Attempt.code
                    )
                )
            ],
        ),
        *_waiting(session, "outbox", "Messages for the broker", OutboxMessage.created_at),
        *_waiting(session, "erasures", "Objects to be deleted", Erasure.due_at, due()),
        *_waiting(
            session, "webhooks", "Undelivered webhooks", WebhookDelivery.created_at, undelivered
        ),
    ]


def _jobs_by_state(session: Session) -> list[Sample]:
    found = dict(session.execute(select(Job.status, func.count()).group_by(Job.status)).all())
    return [Sample(found.get(status, 0), {"status": status}) for status in Status]


def _by_queue(session: Session, value: Any) -> list[Sample]:
    queued = select(Job.queue, value).where(Job.status == Status.QUEUED).group_by(Job.queue)
    return [Sample(count, {"queue": queue}) for queue, count in session.execute(queued)]


def _waiting(
    session: Session, name: str, what: str, since: Any, where: ColumnElement[bool] | None = None
) -> list[Metric]:
    statement = select(func.count(), func.min(since))
    if where is not None:
        statement = statement.where(where)
    count, oldest = session.execute(statement).one()
    return [
        Metric(f"{name}_waiting", "gauge", f"{what} that wait.", [Sample(count)]),
        Metric(
            f"{name}_oldest_seconds", "gauge", f"{what}: age of the oldest.", [Sample(_age(oldest))]
        ),
    ]


def _age(moment: datetime | None) -> float:
    return 0.0 if moment is None else max(0.0, (now() - as_utc(moment)).total_seconds())
