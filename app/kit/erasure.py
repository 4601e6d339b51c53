"""Deleting objects for good: noted with the rows they belong to, done afterwards until it succeeds.

A storage that is away when a user deletes something loses nothing and keeps nothing. Uploads are
noted too, before they begin: what a worker leaves behind that dies before it is done is deleted
once its lease is over.
"""

import logging

from sqlalchemy import ColumnElement, delete, exists, or_, select
from sqlalchemy.orm import Session

from app.kit.clock import now
from app.kit.db import SessionFactory, reading, unit_of_work
from app.kit.storage import Storage
from app.models import Erasure, Job

logger = logging.getLogger(__name__)

BATCH = 100


def erase(session: Session, key: str) -> None:
    """Have an object deleted once the transaction is committed; ``folder/`` is all below it."""
    session.add(Erasure(key=key, created_at=now()))


def erase_unless_kept(session: Session, key: str, lease_token: str) -> None:
    """Have an object deleted once no job is held under this lease, unless ``keep`` comes first."""
    session.add(Erasure(key=key, lease_token=lease_token, created_at=now()))


def keep(session: Session, key: str, lease_token: str) -> None:
    """The upload is done and belongs to a row of this transaction: take the note back."""
    session.execute(delete(Erasure).where(Erasure.key == key, Erasure.lease_token == lease_token))


def due() -> ColumnElement[bool]:
    """Which notes may be carried out: those of uploads only when the lease is over."""
    held = exists().where(Job.lease_token == Erasure.lease_token)
    return or_(Erasure.lease_token.is_(None), ~held)


def carry_out(sessions: SessionFactory, storage: Storage) -> int:
    """Delete what is noted; returns how many notes are done with. Safe to run twice at once.

    What the storage refuses stays noted, and holds up nothing else.
    """
    with reading(sessions) as session:
        noted = session.scalars(
            select(Erasure).where(due()).order_by(Erasure.id).limit(BATCH)
        ).all()
    done = [note.id for note in noted if _gone(storage, note.key)]
    if done:
        with unit_of_work(sessions) as session:
            session.execute(delete(Erasure).where(Erasure.id.in_(done)))
    return len(done)


def _gone(storage: Storage, key: str) -> bool:
    try:
        for found in storage.keys(key.rstrip("/")) if key.endswith("/") else [key]:
            storage.delete(found)
    except Exception as error:  # noqa: BLE001 - drivers raise what they like
        logger.warning("%s is not deleted yet: %s", key, error)
        return False
    return True
