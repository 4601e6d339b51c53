"""Accepting a job: its row, its first event, its message and the answer, in one transaction.

Of all operations this is the one that comes in crowds. What it has to know is asked for by one
statement, and what it writes is inserted as it is, by another: the ORM's bookkeeping, for rows that
nobody looks at again here, took longer than the database.
"""

import logging
import time
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, bindparam, literal, select
from sqlalchemy.orm import Session

from app.access import quotas
from app.jobs import picking, reuse, usage
from app.jobs.control import deadline_of
from app.jobs.events import first_event
from app.jobs.kinds import Kind
from app.jobs.schemas import RANKS, read_job
from app.jobs.service import resolve_request
from app.jobs.states import Status
from app.kit import outbox
from app.kit.clock import now
from app.kit.db import KEPT
from app.kit.idempotency import Answer, recall, remember
from app.kit.ids import new_id
from app.kit.rows import insert
from app.kit.tenancy import tenant_of
from app.models import Condensed, Job, Tenant
from app.settings import Settings
from app.webhooks.outbox import announce
from dcpi_core.spec.errors import InvalidInput
from dcpi_core.spec.estimate import Estimate, estimate
from dcpi_core.spec.job import NO_PRIVILEGED, JobSpec, JobSubmission, Priority

logger = logging.getLogger(__name__)

OPERATION = "createJob"
LONG_SECONDS = 1.0
"""How long a queue at ``MOST_AHEAD`` is assumed to stay there; counting it costs more than the
submission."""


def submit(
    session: Session, settings: Settings, request: JobSubmission, key: str | None = None
) -> tuple[Answer, bool]:
    """Accept a job, once for each idempotency key.

    A job whose spec has been computed before is answered with that result, unless it asks not to.

    Returns:
        The job as it is shown, and whether this is the answer to an earlier request.

    Raises:
        InvalidInput: names every offending field.
        QuotaExceeded: the tenant has as many jobs, bytes or device seconds as it may.
    """
    asked = request.model_dump(mode="json")
    try:
        spec, dataset_id = resolve_request(session, settings, request)
    except InvalidInput:  # as it is now: it may have been accepted before
        known = recall(session, OPERATION, key, asked)
        if known is None:
            raise
        return known, True
    cost = estimate(spec)
    job = _row(settings, request, asked, spec, cost)
    job.dataset_id, job.tenant_id = dataset_id, tenant_of(session) or ""
    limited, ahead, twin_id = _ask(session, job)
    if twin_id is not None and request.cache == "reuse":
        _finish(job, session.get(Condensed, twin_id, with_for_update=KEPT))
    answer = read_job(job, None if job.cached else ahead, spec).model_dump(mode="json")
    # Before anything else is written: a twin of this request waits here for it to commit.
    known = remember(session, OPERATION, key, asked, answer)
    if known is not None:
        return known, True
    if limited and not job.cached:
        usage.require_room(session, cost.bytes.get("total", 0))
    if job.cached:
        told = {"status": job.status, "cached": True, "condensed_id": job.condensed_id}
        insert(session, job, first_event(job, told))
        announce(session, job.id, job.status)
    else:
        enqueue(session, job)
    logger.info("job %s: submitted, %s", job.id, job.status, extra={"fields": {"job_id": job.id}})
    return answer, False


def enqueue(session: Session, job: Job) -> None:
    """Write a new queued job of any kind: its row, its first event and its message."""
    begun = first_event(job, {"status": job.status})
    insert(session, job, begun, outbox.message_for(job.id, job.queue))


def queued(
    settings: Settings, kind: Kind, priority: Priority, deadline_seconds: int | None, **about: Any
) -> Job:
    """A new job at the end of its queue, not yet written; ``about`` are its other columns."""
    moment = now()
    return Job(
        id=new_id("job"),
        kind=kind,
        status=Status.QUEUED,
        attempt=0,
        cached=False,
        created_at=moment,
        queued_at=moment,
        priority=RANKS[priority],
        queue=settings.queue,
        deadline_seconds=deadline_seconds,
        deadline_at=deadline_of(deadline_seconds),
        **about,
    )


def _row(
    settings: Settings,
    request: JobSubmission,
    asked: dict[str, Any],
    spec: JobSpec,
    cost: Estimate,
) -> Job:
    return queued(
        settings,
        Kind.CONDENSE,
        request.priority,
        request.deadline_seconds,
        name=request.name,
        labels=dict(request.metadata),
        request=asked,
        spec=spec.model_dump(mode="json"),
        spec_digest=spec.digest(),
        dataset=spec.dataset.name,
        base_method=spec.base_method.name,
        pi_types=",".join(c.name for c in spec.privileged) or NO_PRIVILEGED,
        images_per_class=spec.images_per_class,
        estimate=cost.model_dump(mode="json"),
    )


def _ask(session: Session, job: Job) -> Row[bool, int, str | None]:
    """Whether the tenant has quotas, how many of its jobs go first, and whose result would do."""
    given = {"digest": job.spec_digest, "version": reuse.code_version(), **picking.place(job)}
    queue, moment = (job.tenant_id, job.queue, job.priority), time.monotonic()
    if moment < _long.get(queue, 0.0):
        return session.connection().execute(_STANDING_IN_LONG_QUEUE, given).one()
    found = session.connection().execute(_STANDING, given).one()
    if found[1] == picking.MOST_AHEAD:
        _long[queue] = moment + LONG_SECONDS
    return found


def _standing(ahead: ColumnElement[int]) -> Select[bool, int, str | None]:
    # Each part of it names the tenant itself: to have the session restrict it takes longer than all
    # that the database does for it.
    wanted = select(quotas.HAS_QUOTAS, ahead, reuse.TWIN.scalar_subquery())
    return wanted.where(Tenant.id == bindparam("tenant_id"))


_STANDING = _standing(picking.AHEAD.scalar_subquery())
_STANDING_IN_LONG_QUEUE = _standing(literal(picking.MOST_AHEAD))
_long: dict[tuple[str, str, int], float] = {}
"""Until when a queue is believed to be as long as is counted, by tenant, name and priority."""


def _finish(job: Job, twin: Condensed | None) -> None:
    if twin is None:  # deleted since it was asked for
        return
    job.status, job.cached = Status.SUCCEEDED, True
    job.finished_at, job.deadline_at = job.created_at, None
    job.condensed_id, job.headline = twin.id, twin.headline
