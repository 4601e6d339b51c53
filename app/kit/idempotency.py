"""Requests that may come twice: the second time gets the first answer."""

import hashlib
import json
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Header
from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.kit.clock import now
from app.kit.tenancy import tenant_of
from app.models import IdempotencyKey
from dcpi_core.spec.errors import FieldProblem, InvalidInput

LIFETIME = timedelta(hours=24)
AS_IT_IS = {"synchronize_session": False}
"""No row of this table is held as an object while it is written."""

Answer = dict[str, Any]
KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="the same key within a day gets the first answer again",
    ),
]


def remember(
    session: Session, operation: str, key: str | None, body: Any, answer: Answer
) -> Answer | None:
    """Write the answer to a key, before anything is done that it tells of.

    Of two requests at the same time the second waits in the database for the first to commit, and
    then finds its answer.

    Returns:
        None if the key is new, or there is none; otherwise what was answered to it before.

    Raises:
        InvalidInput: the key was used with another body.
    """
    if key is None or _write(session, operation, key, body, answer):
        return None
    known = recall(session, operation, key, body)
    if known is not None:
        return known
    _forget(session, operation, key)  # it is too old to count
    return remember(session, operation, key, body, answer)


def _write(session: Session, operation: str, key: str, body: Any, answer: Answer) -> bool:
    """Write the key with its answer; whether it is a new one."""
    values: dict[str, Any] = {
        "tenant_id": tenant_of(session),
        "operation": operation,
        "key": key,
        "fingerprint": _fingerprint(body),
        "answer": answer,
        "object_id": answer.get("id"),
        "created_at": now(),
    }
    connection = session.connection()
    return connection.scalar(_NEW[connection.dialect.name], values) is not None


_NEW = {
    dialect.dialect.name: dialect.insert(IdempotencyKey.__table__)
    .on_conflict_do_nothing()
    .returning(IdempotencyKey.id)
    for dialect in (postgresql, sqlite)
}


def _forget(session: Session, operation: str, key: str) -> None:
    own = (IdempotencyKey.operation == operation, IdempotencyKey.key == key)
    session.execute(delete(IdempotencyKey).where(*own), execution_options=AS_IT_IS)


def forget_expired(session: Session) -> int:
    """Delete the answers that nobody may ask for any more; returns how many."""
    expired = delete(IdempotencyKey).where(IdempotencyKey.created_at < now() - LIFETIME)
    return len(session.scalars(expired.returning(IdempotencyKey.id)).all())


def recall(session: Session, operation: str, key: str | None, body: Any) -> Answer | None:
    """What was answered to this key within the last day.

    Raises:
        InvalidInput: the key was used with another body.
    """
    if key is None:
        return None
    own = (IdempotencyKey.operation == operation, IdempotencyKey.key == key)
    found = session.scalar(select(IdempotencyKey).where(*own))
    if found is None or found.created_at < now() - LIFETIME:
        return None
    if found.fingerprint != _fingerprint(body):
        message = "was used with another body; use a new key"
        problem = FieldProblem("/Idempotency-Key", "idempotency_key_reused", message)
        raise InvalidInput(f"Idempotency-Key {key!r} {message}", [problem])
    return found.answer


def _fingerprint(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
