"""What a tenant's jobs take of its quotas: places in the queue, places on workers, device time."""

import itertools
import math
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from app.access import quotas
from app.jobs.events import STATUS
from app.jobs.states import LEASED, Status
from app.kit.clock import now
from app.models import Job, JobEvent, Tenant

QUEUE_RETRY_SECONDS = 60
"""To wait where the queue is full: nobody knows when a job will end."""
HELD_SECONDS = 15.0
"""Between calls for a job that waits until its tenant has a free place on the workers."""


def require_room(session: Session, result_bytes: int) -> None:
    """Refuse one more job where it would go beyond a quota of the session's tenant.

    Raises:
        QuotaExceeded: names the quota, its value, and when to try again.
    """
    tenant = quotas.lock(session)
    if tenant is None:
        return
    if tenant.max_queued_jobs is not None:
        wanted = _count(session, [Status.QUEUED]) + 1
        limit, retry = tenant.max_queued_jobs, QUEUE_RETRY_SECONDS
        quotas.require("max_queued_jobs", limit, wanted, retry_after_seconds=retry)
    quotas.require_bytes(session, tenant, result_bytes)
    if tenant.max_device_seconds is not None:
        moment = now()
        begin, end = month_of(moment)
        spent = device_seconds(session, begin, moment)
        # A job whose time is over is let finish; the next one has to wait for the month to end.
        limit, retry = tenant.max_device_seconds, math.ceil((end - moment).total_seconds())
        quotas.require("max_device_seconds", limit, spent + 1, retry_after_seconds=retry)


def is_held(session: Session, job_id: str) -> bool:
    """Whether the job's tenant runs as many as it may; workers are then called again shortly.

    Locks the tenant, so that two workers do not both take its last place.
    """
    limited = Tenant.max_running_jobs.is_not(None)
    tenant = session.scalar(
        select(Tenant)
        .join(Job, Job.tenant_id == Tenant.id)
        .where(Job.id == job_id, Job.status == Status.QUEUED, limited)
        .with_for_update(of=Tenant, key_share=True)
    )
    if tenant is None or tenant.max_running_jobs is None:
        return False
    if _count(session, LEASED, tenant.id) < tenant.max_running_jobs:
        return False
    again = now() + timedelta(seconds=HELD_SECONDS)
    session.execute(update(Job).where(Job.id == job_id).values(ring_at=again))
    return True


def device_seconds(session: Session, begin: datetime, end: datetime) -> float:
    """Seconds between two moments for which workers held jobs of the session's tenant.

    Read from the jobs' own histories, which know every attempt and every pause between them.
    """
    recent = or_(Job.finished_at.is_(None), Job.finished_at >= begin)
    rows = session.execute(
        select(JobEvent.job_id, JobEvent.created_at, JobEvent.data)
        .join(Job, Job.id == JobEvent.job_id)
        .where(recent, JobEvent.type == STATUS)
        .order_by(JobEvent.job_id, JobEvent.seq)
    )
    by_job = itertools.groupby(rows, key=lambda row: row[0])
    return sum(
        _held_seconds([(at, data["status"]) for _, at, data in events], begin, end)
        for _, events in by_job
    )


def month_of(moment: datetime) -> tuple[datetime, datetime]:
    """First moments of the calendar month and of the one after it."""
    begin = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return begin, (begin + timedelta(days=32)).replace(day=1)


def _held_seconds(history: list[tuple[datetime, str]], begin: datetime, end: datetime) -> float:
    seconds = 0.0
    following = [at for at, _ in history[1:]] + [end]
    for (since, status), until in zip(history, following, strict=True):
        if status in LEASED:
            seconds += max(0.0, (min(until, end) - max(since, begin)).total_seconds())
    return seconds


def _count(session: Session, statuses: Iterable[Status], tenant_id: str | None = None) -> int:
    statement = select(func.count()).select_from(Job).where(Job.status.in_(statuses))
    if tenant_id is not None:  # a worker's session sees the jobs of all
        statement = statement.where(Job.tenant_id == tenant_id)
    return session.scalar(statement) or 0
