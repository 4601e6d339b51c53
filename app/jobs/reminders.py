"""A broker that lost its memory is told again: jobs that nobody claims are rung for once more."""

from datetime import datetime, timedelta

from sqlalchemy import Select, and_, exists, or_, select

from app.jobs.states import Status
from app.kit import outbox
from app.kit.clock import now
from app.kit.db import SessionFactory, finds, unit_of_work
from app.models import Job, OutboxMessage

LONGEST_SILENCE = 16
"""Times the first wait: a long queue must not fill the broker with reminders."""


def ring_again(sessions: SessionFactory, after_seconds: float) -> int:
    """Ring for jobs that have been queued for so long that the broker must have forgotten them.

    A job that goes on waiting is rung for less and less often. Returns how many were rung for,
    ``outbox.BATCH`` at most.
    """
    moment = now()
    overdue = _overdue(moment, timedelta(seconds=after_seconds))
    if not finds(sessions, overdue):
        return 0
    with unit_of_work(sessions) as session:
        jobs = session.scalars(overdue.with_for_update(skip_locked=True)).all()
        for job in jobs:
            outbox.ring(session, job.id, job.queue)
            waited = (moment - job.queued_at).total_seconds()
            pause = min(max(waited, after_seconds), LONGEST_SILENCE * after_seconds)
            job.ring_at = moment + timedelta(seconds=pause)
        return len(jobs)


def _overdue(moment: datetime, after: timedelta) -> Select[Job]:
    never_reminded = and_(Job.ring_at.is_(None), Job.queued_at < moment - after)
    unsent = exists().where(OutboxMessage.job_id == Job.id)
    return (
        select(Job)
        .where(Job.status == Status.QUEUED, or_(never_reminded, Job.ring_at < moment), ~unsent)
        .limit(outbox.BATCH)
    )
