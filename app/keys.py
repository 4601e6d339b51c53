"""API keys from the command line: ``python -m app.keys create | list | revoke | limit``.

For whoever runs the service: the first key of a tenant has to come from somewhere, and tenants and
their quotas are made here only.
"""

import argparse
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from app.access import repository, service
from app.access.schemas import KeyCreate
from app.access.scopes import Scope
from app.kit.clock import now
from app.kit.db import build_engine, build_sessions, unit_of_work
from app.kit.ids import new_id
from app.models import Tenant
from app.settings import Settings
from dcpi_core.spec.errors import Conflict, DcpiError, NotFound

QUOTAS = {
    "max_queued_jobs": 20,
    "max_running_jobs": 2,
    "max_stored_bytes": 100 * 2**30,
    "max_device_seconds": 100 * 3600,
}
"""Of a new tenant; device seconds are those of a calendar month (UTC)."""
UNLIMITED = "none"


def create(
    session: Session,
    settings: Settings,
    *,
    tenant: str,
    name: str,
    scope: list[str] | None,
    expires_days: int | None,
) -> str:
    """Make a key, and its tenant if there is none of that name; returns the key."""
    owner = repository.tenant_called(session, tenant)
    if owner is None:
        owner = Tenant(id=new_id("tnt"), name=tenant, created_at=now(), **QUOTAS)
        session.add(owner)
        session.flush()
        sys.stderr.write(f"new tenant {owner.name}: {_quotas(owner)}\n")
    wanted = KeyCreate(
        name=name,
        scopes=[Scope(word) for word in scope or (Scope.READ, Scope.WRITE)],
        expires_at=None if expires_days is None else now() + timedelta(days=expires_days),
    )
    row, token = service.new_key(settings, wanted)
    row.tenant_id = owner.id
    session.add(row)
    sys.stderr.write(f"key {row.id} of tenant {owner.name}; it is shown this once:\n")
    return token


def list_keys(session: Session, _settings: Settings) -> str:
    """Every key of every tenant, one a line."""
    lines = []
    for tenant, key in repository.every_key(session):
        state = "revoked" if key.revoked_at else "expires" if key.expires_at else "made"
        day = key.revoked_at or key.expires_at or key.created_at
        lines.append(f"{key.id}  {tenant.name}  {key.name}  {key.scopes}  {state} {day:%Y-%m-%d}")
    return "\n".join(lines) or "no keys"


def revoke(session: Session, _settings: Settings, *, key_id: str) -> str:
    """End a key."""
    return f"{service.revoke(session, key_id).id} revoked"


def limit(session: Session, _settings: Settings, *, tenant: str, **quotas: str | None) -> str:
    """Change a tenant's quotas; those that are not named stay as they are."""
    found = repository.tenant_called(session, tenant)
    if found is None:
        raise NotFound(f"no tenant {tenant!r}")
    for name, given in quotas.items():
        if given is not None:
            setattr(found, name, None if given == UNLIMITED else int(given))
    return f"{found.name}: {_quotas(found)}"


def _quotas(tenant: Tenant) -> str:
    found = {name: getattr(tenant, name) for name in QUOTAS}
    return ", ".join(
        f"{name} {UNLIMITED if value is None else value}" for name, value in found.items()
    )


def _count_or_none(text: str) -> str:
    if text != UNLIMITED and not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor {UNLIMITED!r}")
    return text


def _days(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 3650:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 1 to 3650")
    return int(text)


def _name(text: str) -> str:
    if not 1 <= len(text) <= 64:
        raise argparse.ArgumentTypeError("a name has 1 to 64 characters")
    return text


def parser() -> argparse.ArgumentParser:
    """The words of the command line."""
    words = argparse.ArgumentParser(prog="python -m app.keys", description=__doc__)
    commands = words.add_subparsers(required=True)
    making = commands.add_parser("create", help="make a key; prints it, once")
    making.add_argument("--tenant", type=_name, default="default", help="made if there is none")
    making.add_argument("--name", type=_name, required=True, help="what the key is for")
    making.add_argument(
        "--scope", action="append", choices=list(Scope), help="repeatable; default: read and write"
    )
    making.add_argument("--expires-days", type=_days, help="default: does not expire")
    making.set_defaults(act=create)
    commands.add_parser("list", help="every key").set_defaults(act=list_keys)
    ending = commands.add_parser("revoke", help="end a key")
    ending.add_argument("key_id", help="key_...")
    ending.set_defaults(act=revoke)
    limiting = commands.add_parser("limit", help="change a tenant's quotas")
    limiting.add_argument("--tenant", type=_name, required=True)
    for quota in QUOTAS:
        option = "--" + quota.replace("_", "-")
        limiting.add_argument(option, type=_count_or_none, help=f"a number or {UNLIMITED}")
    limiting.set_defaults(act=limit)
    return words


def main(words: list[str] | None = None) -> int:
    """Do what the command line says; 2 if it cannot be done."""
    options = vars(parser().parse_args(words))
    try:
        answer = _act(Settings.read(), **options)
    except DcpiError as error:
        sys.stderr.write(f"error: {error.detail}\n")
        return 2
    sys.stdout.write(answer + "\n")
    return 0


def _act(settings: Settings, act: Callable[..., str], **options: Any) -> str:
    """What there is to say once it is committed."""
    engine = build_engine(settings.resolved_database_url)
    try:
        with unit_of_work(build_sessions(engine)) as session:
            return act(session, settings, **options)
    except (OperationalError, ProgrammingError) as error:
        reason = str(error.orig).splitlines()[0]
        raise Conflict(
            f"the database does not answer as it should ({reason}); is it there, and has "
            "`python -m app.migrate` been run?"
        ) from None
    finally:
        engine.dispose()


if __name__ == "__main__":
    sys.exit(main())
