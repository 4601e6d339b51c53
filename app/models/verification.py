"""Verifications: reports held against students trained again on the published files."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, Json, UtcTime
from app.models.job import Job
from app.models.tenant import Owned


class Verification(Owned, Base):
    """One verification of a condensed dataset, carried out by a job of its own.

    ``repeats`` students of each arm were asked for. ``verdict`` and ``record``, a
    ``dcpi_core.spec.verification.Verification``, are empty until the job has succeeded.
    """

    __tablename__ = "verifications"
    __table_args__ = (Index(None, "tenant_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    condensed_id: Mapped[str] = mapped_column(ForeignKey("condensed.id"), index=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    repeats: Mapped[int] = mapped_column(Integer)
    verdict: Mapped[str | None] = mapped_column(String(32))
    record: Mapped[dict[str, Any] | None] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcTime)
    job: Mapped[Job] = relationship(lazy="joined", innerjoin=True)
