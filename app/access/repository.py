"""Queries about tenants and keys."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Connection, Row, String, Table, bindparam, case, or_, select, update
from sqlalchemy.orm import Session

from app.access import rates
from app.kit.pages import PageQuery
from app.models import ApiKey, Tenant
from app.models.base import UtcTime
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


def take(
    connection: Connection, key_id: str, digest: str, moment: datetime
) -> Row[str, str, int, float] | None:
    """Take one request from the rate of a valid key, and note that it was used.

    Tenant, scopes, quota and the moment at which the bucket will be full; None if the key is not
    known, not valid, has no limit or no token left.
    """
    given = {"key_id": key_id, "key_digest": digest, "moment": moment, "now": moment.timestamp()}
    return connection.execute(_TAKE, given | {"stale": moment - SELDOM}).one_or_none()


def note_use(session: Session, key: ApiKey, moment: datetime) -> None:
    """Remember that the key was used, unless that was noted a moment ago."""
    stale = moment - SELDOM
    if key.last_used_at is None or key.last_used_at < stale:
        given = {"key_id": key.id, "moment": moment, "stale": stale}
        session.connection().execute(_NOTE, given)


_keys = cast("Table", ApiKey.__table__)
_id, _moment = bindparam("key_id", type_=String), bindparam("moment", type_=UtcTime)
_unused = or_(
    _keys.c.last_used_at.is_(None), _keys.c.last_used_at < bindparam("stale", type_=UtcTime)
)
_TAKE = (
    update(_keys)
    # The digest is under the server's secret: how long its comparison takes tells nothing of it.
    .where(
        _keys.c.id == _id, _keys.c.digest == bindparam("key_digest"), _keys.c.revoked_at.is_(None)
    )
    .where(or_(_keys.c.expires_at.is_(None), _keys.c.expires_at > _moment), rates.HAS_TOKEN)
    .values(
        bucket_full_at=rates.FULL_AT,
        last_used_at=case((_unused, _moment), else_=_keys.c.last_used_at),
    )
    .returning(
        _keys.c.tenant_id, _keys.c.scopes, _keys.c.requests_per_minute, _keys.c.bucket_full_at
    )
)
_NOTE = update(_keys).where(_keys.c.id == _id, _unused).values(last_used_at=_moment)
