"""Condensed datasets: the results of jobs."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Json, UtcTime
from app.models.tenant import Owned


class Condensed(Owned, Base):
    """A finished bundle; ``files`` lists {path, bytes, sha256, media_type} of every file.

    ``code_version`` is the beginning of the digest of the sources that made it.

    ``manifest`` and ``report`` are only read where they are asked for: no answer shows them, and
    they can be long.
    """

    __tablename__ = "condensed"
    __table_args__ = (Index(None, "tenant_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    dataset: Mapped[str] = mapped_column(String(64), index=True)
    base_method: Mapped[str] = mapped_column(String(64), index=True)
    pi_types: Mapped[str] = mapped_column(String(200))
    images_per_class: Mapped[int] = mapped_column(Integer, index=True)
    top1: Mapped[float] = mapped_column(Float)
    bytes_total: Mapped[int] = mapped_column(BigInteger)
    manifest: Mapped[dict[str, Any]] = mapped_column(Json, deferred=True)
    report: Mapped[dict[str, Any]] = mapped_column(Json, deferred=True)
    headline: Mapped[dict[str, Any]] = mapped_column(Json)
    files: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    code_version: Mapped[str] = mapped_column(String(40), default="")
    created_at: Mapped[datetime] = mapped_column(UtcTime)
