"""Rules about keys: who is admitted, and what making and revoking a key means."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.access import rates, repository, tokens
from app.access.rates import Allowance
from app.access.schemas import KeyCreate, KeyCreated, KeyRead, read_key
from app.access.scopes import Scope
from app.kit.clock import now
from app.kit.db import SessionFactory, single_statement, unit_of_work
from app.kit.ids import new_id
from app.kit.pages import PageQuery
from app.models import ApiKey
from app.settings import Settings
from dcpi_core.spec.errors import Conflict, NotAuthenticated


@dataclass(frozen=True)
class Caller:
    """Who asks, what the key allows, and what is left of its rate."""

    tenant_id: str
    scopes: frozenset[Scope]
    allowance: Allowance | None = None
    key_id: str | None = None


def admit(engine: Engine, sessions: SessionFactory, token: str, secret: str) -> Caller:
    """The caller that a key stands for; takes one request from its rate.

    Every request comes by here, so the usual case does without a session.

    Raises:
        NotAuthenticated: the key is unknown, expired or revoked.
    """
    key_id = tokens.id_in(token)
    if key_id is None:
        raise NotAuthenticated("this is no API key of this service; it begins with dcpi_")
    moment = now()
    with single_statement(engine) as connection:
        taken = repository.take(connection, key_id, tokens.digest(token, secret), moment)
    if taken is None:
        return _admit_without_token(sessions, token, secret, moment)
    tenant_id, scopes, quota, full_at = taken
    return Caller(tenant_id, _parsed(scopes), rates.after_taking(quota, full_at, moment), key_id)


def _admit_without_token(
    sessions: SessionFactory, token: str, secret: str, moment: datetime
) -> Caller:
    """The caller of a key that has no limit or is at it; raises NotAuthenticated if invalid."""
    with unit_of_work(sessions) as session:
        key = repository.by_id(session, tokens.id_in(token) or "")
        if key is None or not tokens.matches(token, secret, key.digest):
            raise NotAuthenticated("the API key is not known here")
        _require_valid(key, moment)
        repository.note_use(session, key, moment)
        quota, allowance = key.requests_per_minute, None
        if quota is not None:
            allowance = rates.exhausted(quota, key.bucket_full_at, moment)
        return Caller(key.tenant_id, _parsed(key.scopes), allowance, key.id)


def create(session: Session, settings: Settings, wanted: KeyCreate) -> KeyCreated:
    """Make a key of the session's tenant; the answer is the only place where it stands.

    Raises:
        Conflict: the service has no secret to store keys under.
    """
    row, token = new_key(settings, wanted)
    session.add(row)
    session.flush()
    return KeyCreated(**read_key(row).model_dump(), key=token)


def new_key(settings: Settings, wanted: KeyCreate) -> tuple[ApiKey, str]:
    """A row that is not yet anybody's, and the key itself."""
    if settings.key_secret is None:
        raise Conflict("API keys cannot be made while DCPI_KEY_SECRET is not set")
    key_id = new_id(tokens.ROW_PREFIX.rstrip("_"))
    token = tokens.mint(key_id)
    row = ApiKey(
        id=key_id,
        name=wanted.name,
        digest=tokens.digest(token, settings.key_secret.get_secret_value()),
        scopes=_joined(wanted.scopes),
        requests_per_minute=settings.requests_per_minute or None,
        created_at=now(),
        expires_at=wanted.expires_at,
    )
    return row, token


def find(session: Session, page: PageQuery) -> dict[str, Any]:
    """A page of the tenant's keys, revoked ones included."""
    return page.page(repository.find(session, page), read_key)


def get(session: Session, key_id: str) -> KeyRead:
    """One key; raises NotFound."""
    return read_key(repository.get(session, key_id))


def revoke(session: Session, key_id: str) -> KeyRead:
    """End a key for good, from the next request on; revoking again changes nothing."""
    row = repository.get(session, key_id)
    row.revoked_at = row.revoked_at or now()
    return read_key(row)


def _require_valid(key: ApiKey, moment: datetime) -> None:
    if key.revoked_at is not None:
        raise NotAuthenticated("the API key has been revoked")
    if key.expires_at is not None and key.expires_at <= moment:
        raise NotAuthenticated(f"the API key expired at {key.expires_at.isoformat()}")


def _parsed(scopes: str) -> frozenset[Scope]:
    return frozenset(map(Scope, scopes.split(",")))


def _joined(scopes: Iterable[Scope]) -> str:
    wanted = set(scopes)
    return ",".join(scope for scope in Scope if scope in wanted)
