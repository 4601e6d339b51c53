"""Device time of tenants by calendar month: what is spent stays spent, whatever is deleted."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.jobs.states import LEASED
from app.models import Attempt, DeviceTime, Job


def month_of(moment: datetime) -> tuple[datetime, datetime]:
    """First moments of the calendar month and of the one after it."""
    begin = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return begin, (begin + timedelta(days=32)).replace(day=1)


def spend(session: Session, tenant_id: str, since: datetime, until: datetime) -> None:
    """Write down that a worker held a job of the tenant, for each month its own part.

    Locks the tenant's months until the transaction ends.
    """
    while since < until:
        begin, following = month_of(since)
        seconds = (min(until, following) - since).total_seconds()
        values = {"tenant_id": tenant_id, "month": begin.date(), "seconds": seconds}
        connection = session.connection()
        connection.execute(_MORE[connection.dialect.name], values)
        since = following


def spent(session: Session, tenant_id: str, moment: datetime) -> float:
    """Seconds of the moment's month for which workers have held jobs of the tenant until then."""
    begin, _ = month_of(moment)
    this_month = (DeviceTime.tenant_id == tenant_id, DeviceTime.month == begin.date())
    # Asked for first: of an attempt that ends between the two questions nothing is counted twice.
    ended = session.scalar(select(DeviceTime.seconds).where(*this_month)) or 0.0
    going_on = (  # no more of them than there are workers
        select(Attempt.started_at)
        .join(Job, Job.id == Attempt.job_id)
        .where(Job.tenant_id == tenant_id, Job.status.in_(LEASED), Attempt.ended_at.is_(None))
    )
    running = [moment - max(since, begin) for since in session.scalars(going_on)]
    return ended + sum(max(0.0, time.total_seconds()) for time in running)


def _more(dialect: Any) -> Any:
    new = dialect.insert(DeviceTime.__table__)
    sum_ = DeviceTime.seconds + new.excluded.seconds
    return new.on_conflict_do_update(index_elements=["tenant_id", "month"], set_={"seconds": sum_})


_MORE = {found.dialect.name: _more(found) for found in (postgresql, sqlite)}
