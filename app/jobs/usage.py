"""What a tenant's jobs take of its quotas: places in the queue, places on workers, device time."""

import math
from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from app.access import quotas
from app.jobs import device_time
from app.jobs.states import LEASED, Status
from app.kit import outbox
from app.kit.clock import now
from app.models import Job, Tenant

QUEUE_RETRY_SECONDS = 60
"""To wait where the queue is full: nobody knows when a job will end."""
HELD_SECONDS = 15.0
"""Until workers are called again for a job whose tenant has no free place on them, should nobody
call them before, when one comes free."""


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
    _require_device_time(session, tenant)


def require_device_time(session: Session) -> None:
    """Refuse to let a job that was accepted before go on, where no device time is left.

    Raises:
        QuotaExceeded: says when the month ends.
    """
    tenant = quotas.lock(session)
    if tenant is not None:
        _require_device_time(session, tenant)


def _require_device_time(session: Session, tenant: Tenant) -> None:
    if tenant.max_device_seconds is None:
        return
    moment = now()
    _, end = device_time.month_of(moment)
    spent = device_time.spent(session, tenant.id, moment)
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


def call_for_free_place(session: Session, tenant_id: str) -> None:
    """A job has left its worker: call workers for those of its tenant that wait, on every queue.

    While a tenant runs as many as it may, workers answer calls for its jobs and take none: these
    calls are used up, and one is made for each place that comes free.
    """
    limited = (Tenant.id == tenant_id, Tenant.max_running_jobs.is_not(None))
    ready = (Job.status == Status.QUEUED, or_(Job.not_before.is_(None), Job.not_before <= now()))
    waiting = select(Job.queue, func.min(Job.id)).join(Tenant, Tenant.id == Job.tenant_id)
    found = session.execute(waiting.where(*limited, *ready).group_by(Job.queue))
    for queue, job_id in found:
        outbox.ring(session, job_id, queue)


def _count(session: Session, statuses: Iterable[Status], tenant_id: str | None = None) -> int:
    statement = select(func.count()).select_from(Job).where(Job.status.in_(statuses))
    if tenant_id is not None:  # a worker's session sees the jobs of all
        statement = statement.where(Job.tenant_id == tenant_id)
    return session.scalar(statement) or 0
