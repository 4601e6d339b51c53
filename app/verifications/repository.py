"""Queries about verifications."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kit.pages import PageQuery
from app.models import Verification
from dcpi_core.spec.errors import NotFound


def get(session: Session, condensed_id: str, verification_id: str) -> Verification:
    """The verification of this condensed dataset with this id; raises NotFound."""
    row = session.get(Verification, verification_id)
    if row is None or row.condensed_id != condensed_id:
        raise NotFound(f"no verification {verification_id!r} of {condensed_id!r}")
    return row


def find(session: Session, condensed_id: str, page: PageQuery) -> list[Verification]:
    """Verifications of this condensed dataset, one more than the page holds."""
    own = select(Verification).where(Verification.condensed_id == condensed_id)
    return list(session.scalars(page.select(own, Verification.id)))


def by_job(session: Session, job_id: str) -> Verification | None:
    """The verification that this job carries out, if that is what it does."""
    return session.scalar(select(Verification).where(Verification.job_id == job_id))


def of_job(session: Session, job_id: str) -> Verification:
    """The verification that this job carries out; raises NotFound."""
    row = by_job(session, job_id)
    if row is None:
        raise NotFound("the condensed dataset that was to be verified was deleted")
    return row
