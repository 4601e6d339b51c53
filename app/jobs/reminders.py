"""A broker that lost its memory is told again: jobs that nobody claims are rung for once more."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Row, Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from app.jobs.states import Status
from app.kit import outbox
from app.kit.clock import now
from app.kit.db import SessionFactory, finds, reading, unit_of_work
from app.models import Job, OutboxMessage

LONGEST_SILENCE = 16
"""Times the first wait, between two looks at a job."""

Unheard = Callable[[Collection[str]], Mapping[str, int]]
"""How many calls on each of these queues no worker has taken yet; raises if the broker is away."""


def ring_again(sessions: SessionFactory, after_seconds: float, unheard: Unheard) -> int:
    """Ring for jobs that have been queued for so long that the broker must have forgotten them.

    A call is about a queue, and any of its jobs may answer it: as many as wait there are enough. A
    broker that still has these is told nothing, or it would fill while all workers are busy, and
    where none serves the queue. A job that goes on waiting is looked at less and less often.

    Returns how many were rung for, ``outbox.BATCH`` at most.
    """
    moment = now()
    overdue = _overdue(moment, timedelta(seconds=after_seconds))
    if not finds(sessions, overdue):
        return 0
    with reading(sessions) as session:
        queues = session.scalars(overdue.with_only_columns(Job.queue).distinct()).all()
    held = unheard(queues)  # before anything is locked: the broker may take seconds to answer
    rung = 0
    with unit_of_work(sessions) as session:
        missing = {queue: count - held[queue] for queue, count in _waiting(session, queues)}
        jobs = overdue.where(Job.queue.in_(missing)).limit(outbox.BATCH)
        for job in session.scalars(jobs.with_for_update(skip_locked=True)).all():
            waited = (moment - job.queued_at).total_seconds()
            pause = min(max(waited, after_seconds), LONGEST_SILENCE * after_seconds)
            job.ring_at = moment + timedelta(seconds=pause)
            if missing[job.queue] > 0:
                missing[job.queue] -= 1
                outbox.ring(session, job.id, job.queue)
                rung += 1
    return rung


def _waiting(session: Session, queues: Collection[str]) -> Sequence[Row[str, int]]:
    """How many jobs wait on each of these queues, but for those that calls are on their way for."""
    waiting = select(Job.queue, func.count()).where(
        Job.status == Status.QUEUED, Job.queue.in_(queues), ~_UNSENT
    )
    return session.execute(waiting.group_by(Job.queue)).all()


def _overdue(moment: datetime, after: timedelta) -> Select[Job]:
    never_reminded = and_(Job.ring_at.is_(None), Job.queued_at < moment - after)
    long_ago = or_(never_reminded, Job.ring_at < moment)
    return select(Job).where(Job.status == Status.QUEUED, long_ago, ~_UNSENT)


_UNSENT = exists().where(OutboxMessage.job_id == Job.id)
