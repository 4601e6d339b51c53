"""Device time of tenants by calendar month."""

from datetime import date

from sqlalchemy import Date, Float, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base
from app.models.tenant import Owned


class DeviceTime(Owned, Base):
    """Seconds of a month for which workers held jobs of a tenant, of attempts that have ended.

    ``month`` is its first day, in UTC. What was spent stays spent: no job that it was spent on is
    named, and the row stays when they are deleted.
    """

    __tablename__ = "device_time"

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    month: Mapped[date] = mapped_column(Date, primary_key=True)
    seconds: Mapped[float] = mapped_column(Float)
