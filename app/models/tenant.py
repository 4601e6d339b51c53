"""Tenants, their API keys, and the mixin of every table whose rows belong to a tenant."""

from datetime import datetime

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, UtcTime

DEFAULT_TENANT = "tnt_default"
"""Owner of everything where keys are off, and of what was there before there were tenants."""


class Tenant(Base):
    """Who objects belong to, and how much of the service they may take; no value: no limit."""

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    max_queued_jobs: Mapped[int | None] = mapped_column(Integer)
    max_running_jobs: Mapped[int | None] = mapped_column(Integer)
    max_stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    max_device_seconds: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcTime)


class Owned:
    """A row of one tenant; ``app.kit.tenancy`` keeps it from all others.

    There is no default: a row written without an owner is refused by the database. Each table has
    an index that begins with the owner, as a test holds.
    """

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))


class ApiKey(Owned, Base):
    """A key by its digest; ``scopes`` are joined by commas.

    ``bucket_full_at`` is when its rate limit will have recovered, in seconds since 1970.
    """

    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "tenant_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[str] = mapped_column(String(64))
    requests_per_minute: Mapped[int | None] = mapped_column(Integer)
    bucket_full_at: Mapped[float] = mapped_column(Float, default=0.0)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcTime)
