"""Which queued job a free worker gets: tenants take turns, each in the order of its own queue.

A message only says that there is work on a queue. Whose turn it is, is decided when a worker asks:
the tenant with the fewest running jobs, of several the one that was served longest ago. Within a
tenant's queue a higher priority goes first, then the job that was submitted first; so a priority
never pushes another tenant's jobs back.
"""

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.jobs import leases
from app.jobs.leases import Lease
from app.jobs.states import LEASED, Status
from app.kit.clock import now
from app.kit.db import SessionFactory, reading, unit_of_work
from app.models import Job

MOST_AHEAD = 1000
"""Of a longer queue no more is counted: the count is part of every answer about a queued job."""

_sooner = or_(
    Job.priority > bindparam("priority"),
    and_(Job.priority == bindparam("priority"), Job.id < bindparam("id")),
)
_same_queue = and_(
    Job.tenant_id == bindparam("tenant_id"),
    Job.status == Status.QUEUED,
    Job.queue == bindparam("queue"),
)
AHEAD = select(func.count()).select_from(
    select(Job.id).where(_same_queue, _sooner).limit(MOST_AHEAD).subquery()
)
"""How many jobs come before one; its parameters are those of ``place``."""


def claim_next(sessions: SessionFactory, queue: str, worker: str, seconds: float) -> Lease | None:
    """Take the job whose turn it is on this queue; None if no job waits there.

    Each tenant has a transaction of its own: one that runs as many jobs as it may is not kept
    locked while the next is waited for, which another worker may look at in another order.
    """
    with reading(sessions) as session:
        tenants = session.scalars(_tenants_in_turn(queue)).all()
    for tenant_id in tenants:
        with unit_of_work(sessions) as session:
            head = session.scalar(_head(queue, tenant_id))
            if head is None:  # another worker was faster
                continue
            lease = leases.claim(session, head, worker, seconds)
        if lease is not None:
            return lease
    return None


def ahead_of(session: Session, job: Job) -> int:
    """Jobs of the same tenant that come before this one; other tenants take their turns between.

    ``MOST_AHEAD`` stands for that many or more.
    """
    return session.scalar(AHEAD, place(job)) or 0


def place(job: Job) -> dict[str, Any]:
    """What ``AHEAD`` has to know of a job."""
    return {name: getattr(job, name) for name in ("id", "priority", "queue", "tenant_id")}


def _tenants_in_turn(queue: str) -> Select[str]:
    any_job = aliased(Job)
    own = any_job.tenant_id == Job.tenant_id
    running = select(func.count()).where(own, any_job.status.in_(LEASED)).scalar_subquery()
    served = select(func.max(any_job.claimed_at)).where(own).scalar_subquery()
    return (
        select(Job.tenant_id)
        .where(*_ready(queue))
        .group_by(Job.tenant_id)
        .order_by(running, served.asc().nulls_first(), func.min(Job.id))
    )


def _head(queue: str, tenant_id: str) -> Select[str]:
    own = select(Job.id).where(*_ready(queue), Job.tenant_id == tenant_id)
    return own.order_by(Job.priority.desc(), Job.id).limit(1).with_for_update(skip_locked=True)


def _ready(queue: str) -> tuple[ColumnElement[bool], ...]:
    not_held_back = or_(Job.not_before.is_(None), Job.not_before <= now())
    return (Job.status == Status.QUEUED, Job.queue == queue, not_held_back)
