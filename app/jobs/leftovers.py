"""What workers leave in the storage that die before they are done.

It is noted before the first byte is stored, and deleted once the lease is over.
"""

from sqlalchemy import ColumnElement, and_, delete, exists, or_
from sqlalchemy.orm import Session

from app.kit.clock import now
from app.models import Erasure, Job


def erase_unless_kept(session: Session, key: str, lease_token: str) -> None:
    """Have an object deleted once no job is held under this lease, unless ``keep`` comes first."""
    session.add(Erasure(key=key, lease_token=lease_token, due_at=now()))


def keep(session: Session, key: str, lease_token: str) -> None:
    """The upload is done and belongs to a row of this transaction: take the note back."""
    session.execute(delete(Erasure).where(Erasure.key == key, Erasure.lease_token == lease_token))


def due() -> ColumnElement[bool]:
    """Which notes may be carried out: when their time has come, and the lease they have is over."""
    held = exists().where(Job.lease_token == Erasure.lease_token)
    return and_(Erasure.due_at <= now(), or_(Erasure.lease_token.is_(None), ~held))
