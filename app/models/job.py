"""Jobs: what was asked for, how far it is, who works on it."""

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, ForeignKey, Index, Integer, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Json, UtcTime
from app.models.tenant import Owned


def _index(*columns: str, where: str) -> Index:
    """An index of the rows for which ``where`` holds."""
    return Index(None, *columns, postgresql_where=text(where), sqlite_where=text(where))


class Job(Owned, Base):
    """One job.

    ``kind`` is that of ``app.jobs.kinds``; ``request`` is what was asked. ``spec`` is the resolved
    JobSpec, of a verification that of the verified set, ``pi_types`` its privileged types joined by
    commas; the lease columns say who may write. A queued job is rung for again at ``ring_at`` and
    not taken before ``not_before``. ``shrink`` counts how often it wanted more memory than there
    was. A ``cached`` one got the result of an earlier job.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "tenant_id", "status", "queue", "priority", "id"),
        # Of jobs that were claimed, that are held, that have ended: a new one is in none of these,
        # and so costs nothing there.
        _index("tenant_id", "claimed_at", where="claimed_at IS NOT NULL"),
        _index("lease_expires_at", where="lease_expires_at IS NOT NULL"),
        _index("lease_token", where="lease_token IS NOT NULL"),
        _index("spec_digest", where="finished_at IS NOT NULL"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), default="condense")
    status: Mapped[str] = mapped_column(String(16), index=True)
    name: Mapped[str | None] = mapped_column(String(200))
    labels: Mapped[dict[str, str]] = mapped_column(Json, default=dict)
    request: Mapped[dict[str, Any]] = mapped_column(Json)
    spec: Mapped[dict[str, Any]] = mapped_column(Json)
    spec_digest: Mapped[str] = mapped_column(String(64))
    dataset: Mapped[str] = mapped_column(String(64))
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id"))
    base_method: Mapped[str] = mapped_column(String(64))
    pi_types: Mapped[str] = mapped_column(String(200))
    images_per_class: Mapped[int] = mapped_column(Integer)
    estimate: Mapped[dict[str, Any]] = mapped_column(Json)
    progress: Mapped[dict[str, Any] | None] = mapped_column(Json)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    shrink: Mapped[int] = mapped_column(Integer, default=0)
    priority: Mapped[int] = mapped_column(Integer, default=0)
    queue: Mapped[str] = mapped_column(String(64))
    cached: Mapped[bool] = mapped_column(Boolean, default=False)
    deadline_seconds: Mapped[int | None] = mapped_column(Integer)
    deadline_at: Mapped[datetime | None] = mapped_column(UtcTime)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    queued_at: Mapped[datetime] = mapped_column(UtcTime)
    not_before: Mapped[datetime | None] = mapped_column(UtcTime)
    claimed_at: Mapped[datetime | None] = mapped_column(UtcTime)
    ring_at: Mapped[datetime | None] = mapped_column(UtcTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcTime)
    lease_owner: Mapped[str | None] = mapped_column(String(200))
    lease_token: Mapped[str | None] = mapped_column(String(40))
    lease_expires_at: Mapped[datetime | None] = mapped_column(UtcTime)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_detail: Mapped[str | None] = mapped_column(Text)
    condensed_id: Mapped[str | None] = mapped_column(String(40))
    headline: Mapped[dict[str, Any] | None] = mapped_column(Json)
    last_event: Mapped[int] = mapped_column(Integer, default=0)


class JobEvent(Base):
    """Something that happened to a job; ``seq`` counts from 1 and is the id of its SSE event."""

    __tablename__ = "job_events"
    __table_args__ = (UniqueConstraint("job_id", "seq"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    seq: Mapped[int] = mapped_column(Integer)
    type: Mapped[str] = mapped_column(String(16))
    data: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
