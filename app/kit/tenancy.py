"""Whose rows a session sees: every query of a bound session is restricted to one tenant, here.

The restriction is added to each statement as it is executed, so a query that says nothing about
tenants is restricted too, and what it does not find does not exist for the caller: 404. Workers
use sessions that are not bound, and see all.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import Executable, event, select
from sqlalchemy.orm import ORMExecuteState, Session, sessionmaker, with_loader_criteria
from sqlalchemy.sql.base import ExecutableOption

from app.models import Attempt, Job, JobEvent, Owned, Tenant, WebhookDelivery, WebhookEndpoint

BOUND = "tenant_id"
"""In ``Session.info``: the tenant whose rows this session sees."""
NOBODY = ""
"""A tenant that owns nothing: what is reached without a key sees no rows."""


def bound(sessions: Callable[..., Session], tenant_id: str) -> Callable[[], Session]:
    """Sessions that see and make rows of this tenant only."""
    return partial(sessions, info={BOUND: tenant_id})


def guard(sessions: sessionmaker[Session]) -> None:
    """Have the binding of these sessions honoured."""
    event.listen(sessions, "do_orm_execute", _restrict)
    event.listen(sessions, "before_flush", _own)


def tenant_of(session: Session) -> str | None:
    """The tenant that the session is bound to."""
    found: str | None = session.info.get(BOUND)
    return found


def claim(session: Session, row: object) -> None:
    """Make a new row the session's tenant's; one without an owner is left to its writer."""
    tenant = tenant_of(session)
    if tenant is not None and isinstance(row, Owned):
        row.tenant_id = row.tenant_id or tenant
        assert row.tenant_id == tenant, "a row for somebody else"


def _restrict(execution: ORMExecuteState) -> None:
    tenant = tenant_of(execution.session)
    # A column load completes a row that this session has already been allowed to see.
    if tenant is None or execution.is_column_load:
        return
    execution.statement = _restricted(execution.statement, tenant)


@lru_cache(maxsize=1024)
def _restricted(statement: Executable, tenant: str) -> Executable:
    """Of a statement that is built once, the same object each time: its cache key is found once."""
    return statement.options(*_criteria(tenant))


@lru_cache(maxsize=1024)  # to build them takes longer than most statements
def _criteria(tenant: str) -> tuple[ExecutableOption, ...]:
    jobs = select(Job.id).where(Job.tenant_id == tenant)
    endpoints = select(WebhookEndpoint.id).where(WebhookEndpoint.tenant_id == tenant)
    return (
        with_loader_criteria(Owned, lambda table: table.tenant_id == tenant, include_aliases=True),
        with_loader_criteria(JobEvent, JobEvent.job_id.in_(jobs), include_aliases=True),
        with_loader_criteria(Attempt, Attempt.job_id.in_(jobs), include_aliases=True),
        with_loader_criteria(
            WebhookDelivery, WebhookDelivery.endpoint_id.in_(endpoints), include_aliases=True
        ),
        with_loader_criteria(Tenant, Tenant.id == tenant, include_aliases=True),
    )


def _own(session: Session, _context: Any, _instances: Any) -> None:
    for row in session.new:
        claim(session, row)
