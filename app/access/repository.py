"""Queries about tenants and keys."""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from app.kit.pages import PageQuery
from app.models import ApiKey, Tenant
from dcpi_core.spec.errors import NotFound

SELDOM = timedelta(minutes=5)
"""Between notes of a key's last use: who watches that wants the day, not the second."""


def by_id(session: Session, key_id: str) -> ApiKey | None:
    """The key's row, whatever its state."""
    return session.get(ApiKey, key_id)


def get(session: Session, key_id: str) -> ApiKey:
    """The key with this id; raises NotFound."""
    row = session.get(ApiKey, key_id)
    if row is None:
        raise NotFound(f"no key {key_id!r}")
    return row


def find(session: Session, page: PageQuery) -> list[ApiKey]:
    """Keys, one more than the page holds."""
    return list(session.scalars(page.select(select(ApiKey), ApiKey.id)))


def every_key(session: Session) -> list[tuple[Tenant, ApiKey]]:
    """All keys with their tenants, oldest first."""
    joined = select(Tenant, ApiKey).join(ApiKey, ApiKey.tenant_id == Tenant.id)
    return [(tenant, key) for tenant, key in session.execute(joined.order_by(ApiKey.id))]


def tenant_called(session: Session, name: str) -> Tenant | None:
    """The tenant with this name."""
    return session.scalar(select(Tenant).where(Tenant.name == name))


def ended(session: Session, key_ids: Collection[str], moment: datetime) -> frozenset[str]:
    """Those of the keys that have been revoked or have expired."""
    over = or_(ApiKey.revoked_at.is_not(None), ApiKey.expires_at <= moment)
    return frozenset(session.scalars(select(ApiKey.id).where(ApiKey.id.in_(key_ids), over)))


def note_use(session: Session, key: ApiKey, moment: datetime) -> None:
    """Remember that the key was used, unless that was noted a moment ago."""
    if key.last_used_at is not None and key.last_used_at >= moment - SELDOM:
        return
    stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < moment - SELDOM)
    session.execute(
        update(ApiKey)
        .where(ApiKey.id == key.id, stale)
        .values(last_used_at=moment)
        .execution_options(synchronize_session=False)
    )
