"""Deleting objects for good: noted with the rows they belong to, done afterwards until it succeeds.

A storage that is away when a user deletes something loses nothing and keeps nothing.
"""

import logging
import time
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from app.kit.clock import now
from app.kit.db import SessionFactory, reading, unit_of_work
from app.kit.storage import Storage, StorageAway
from app.models import Erasure

logger = logging.getLogger(__name__)

BATCH = 100
ROUND_SECONDS = 5.0
"""After which no further note is begun."""
CARRYING_OUT = timedelta(minutes=10)
"""Longer than a round takes, and than clocks are apart."""


def erase(session: Session, key: str, after: timedelta = timedelta(0)) -> None:
    """Have an object deleted once the transaction is committed and ``after`` is over.

    ``folder/`` is all below it.
    """
    session.add(Erasure(key=key, due_at=now() + after))


def take_back(session: Session, key: str) -> bool:
    """Have an object kept after all, unless it is too late; whether it is kept.

    Of a note that is nearly due nobody can say whether it is not being carried out.
    """
    early = Erasure.due_at > now() + CARRYING_OUT
    taken = delete(Erasure).where(Erasure.key == key, early).returning(Erasure.id)
    return bool(session.scalars(taken).all())


def carry_out(sessions: SessionFactory, storage: Storage, due: ColumnElement[bool]) -> int:
    """Delete what is noted and due; returns how many notes are done with. Safe to do twice at once.

    What the storage refuses is noted anew, behind all others. A round ends with the first note for
    which the storage does not answer, and after ``ROUND_SECONDS`` in any case: whoever carries this
    out has other duties.
    """
    done, left = [], []
    began = time.monotonic()
    for note in _noted(sessions, due):
        try:
            _delete(storage, note.key)
        except Exception as error:  # noqa: BLE001 - drivers raise what they like
            logger.warning("%s is not deleted yet: %s", note.key, error)
            left.append(note.id)
            if isinstance(error, StorageAway):
                break
        else:
            done.append(note.id)
        if time.monotonic() - began > ROUND_SECONDS:
            break
    if done or left:
        with unit_of_work(sessions) as session:
            session.execute(delete(Erasure).where(Erasure.id.in_(done)))
            _put_last(session, left)
    return len(done)


def _noted(sessions: SessionFactory, due: ColumnElement[bool]) -> Sequence[Erasure]:
    with reading(sessions) as session:
        return session.scalars(select(Erasure).where(due).order_by(Erasure.id).limit(BATCH)).all()


def _delete(storage: Storage, key: str) -> None:
    for found in storage.keys(key.rstrip("/")) if key.endswith("/") else [key]:
        storage.delete(found)


def _put_last(session: Session, left: Sequence[int]) -> None:
    """Write these notes anew, unless somebody else has carried them out meanwhile."""
    columns = (Erasure.key, Erasure.lease_token, Erasure.due_at)
    taken = delete(Erasure).where(Erasure.id.in_(left)).returning(*columns)
    for key, lease_token, due_at in session.execute(taken).all():
        session.add(Erasure(key=key, lease_token=lease_token, due_at=due_at))
