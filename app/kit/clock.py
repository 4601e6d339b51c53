"""The time, always aware of its zone."""

import re
from datetime import UTC, datetime

_NUMBER = re.compile(r"\s*[+-]?[\d._]+(e[+-]?\d+)?\s*", re.IGNORECASE)


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


def as_text(given: object) -> object:
    """The value as it is, unless it is a number, which would pass for seconds since 1970.

    Raises:
        ValueError: a moment is written as text, for example 2026-01-31T12:00:00Z.
    """
    if isinstance(given, int | float) or (isinstance(given, str) and _NUMBER.fullmatch(given)):
        raise ValueError("must be a date and time such as 2026-01-31T12:00:00Z, not a number")
    return given


def as_utc(moment: datetime) -> datetime:
    """The same moment in UTC; one without a zone is taken to be in UTC.

    Raises:
        ValueError: in UTC it would lie outside of the calendar.
    """
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time lies outside of the calendar") from None
