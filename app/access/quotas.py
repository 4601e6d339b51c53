"""Quotas: how much of the service a tenant may have at once.

They belong to the tenant, not to the single key: a key with the scope ``admin`` could otherwise
make itself another one. Without a number in the tenant's row there is no limit.
"""

from sqlalchemy import bindparam, func, or_, select
from sqlalchemy.orm import Session

from app.kit.tenancy import tenant_of
from app.models import Condensed, Dataset, Tenant
from dcpi_core.spec.errors import FieldProblem, QuotaExceeded


def lock(session: Session) -> Tenant | None:
    """The tenant's row, locked: of two requests for the last place one gets it.

    A tenant without quotas has nothing to count, so its requests need not wait for each other, and
    the answer is None. The lock is one that lets others write rows that refer to the tenant: each
    of these holds the tenant's key, and of two that went on to ask for more both would wait.
    """
    return session.scalar(_LIMITED, {"tenant_id": tenant_of(session)})


_limits = (Tenant.max_queued_jobs, Tenant.max_stored_bytes, Tenant.max_device_seconds)
HAS_QUOTAS = or_(*(limit.is_not(None) for limit in _limits))
"""Of a tenant: whether there is anything to count before it gets more."""
_LIMITED = (
    select(Tenant)
    .where(Tenant.id == bindparam("tenant_id"), HAS_QUOTAS)
    .with_for_update(key_share=True)
)


def require(
    limit: str, allowed: int | None, wanted: float, *, retry_after_seconds: int | None = None
) -> None:
    """Refuse what would go beyond a quota.

    Args:
        limit: name of the quota, as in ``python -m app.keys limit``.
        allowed: its value; None is no limit.
        wanted: what the tenant would then have.
        retry_after_seconds: when this may have changed; None where time alone changes nothing.

    Raises:
        QuotaExceeded: names the quota, its value, and when to try again.
    """
    if allowed is None or wanted <= allowed:
        return
    when = "it does not pass with time; ask for more"
    if retry_after_seconds is not None:
        when = f"try again in {retry_after_seconds} s"
    detail = f"the quota {limit} is {allowed} and this would make {wanted:.0f}; {when}"
    problem = FieldProblem("", limit, detail)
    raise QuotaExceeded(detail, [problem], retry_after_seconds=retry_after_seconds)


def require_bytes(session: Session, tenant: Tenant | None, more: int) -> None:
    """Refuse ``more`` bytes in storage than the tenant may still fill; None has no quotas."""
    if tenant is not None and tenant.max_stored_bytes is not None:
        wanted = stored_bytes(session) + more
        require("max_stored_bytes", tenant.max_stored_bytes, wanted)


def stored_bytes(session: Session) -> int:
    """Bytes of the tenant's uploads and results."""
    parts = (func.sum(Dataset.stored_bytes), func.sum(Condensed.bytes_total))
    return sum(int(session.scalar(select(part)) or 0) for part in parts)
