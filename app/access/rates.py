"""How often a key may ask: a token bucket in the key's own row.

It lives in SQL because every API process sees that, whatever the broker is and whether it is up.
The bucket is one number, the moment at which it will be full again (the generic cell rate
algorithm), so that taking a token is part of a single UPDATE, ``repository.take``: of two processes
that want the last token one gets it.
"""

import math
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Float, bindparam, case, cast, literal

from app.models import ApiKey

WINDOW_SECONDS = 60
POLICY = "requests"


@dataclass(frozen=True)
class Allowance:
    """What is left of a bucket of ``quota`` requests per minute after this request."""

    quota: int
    remaining: int
    reset_seconds: int
    retry_after: int | None = None
    """Seconds until there is a token; None if this request got one."""

    def headers(self) -> dict[str, str]:
        """The fields of draft-ietf-httpapi-ratelimit-headers."""
        return {
            "RateLimit-Policy": f'"{POLICY}";q={self.quota};w={WINDOW_SECONDS}',
            "RateLimit": f'"{POLICY}";r={self.remaining};t={self.reset_seconds}',
        }


NOW = bindparam("now", type_=Float)
"""In ``HAS_TOKEN`` and ``FULL_AT``: the current time, in seconds since 1970."""

_cost = literal(WINDOW_SECONDS, Float) / cast(ApiKey.requests_per_minute, Float)
FULL_AT = case((ApiKey.bucket_full_at > NOW, ApiKey.bucket_full_at), else_=NOW) + _cost
"""When the bucket of a key will be full again if it gives a token now."""
HAS_TOKEN = literal(WINDOW_SECONDS, Float) >= FULL_AT - NOW
"""Whether there is one; null for a key without a limit."""


def after_taking(quota: int, full_at: float, moment: datetime) -> Allowance:
    """What is left of a bucket that has just given a token and will be full at ``full_at``."""
    owed = full_at - moment.timestamp()
    # A hair more than the exact number, which rounding may have put below a whole one.
    remaining = int((WINDOW_SECONDS - owed) * quota / WINDOW_SECONDS + 1e-6)
    return Allowance(quota, remaining, math.ceil(owed))


def exhausted(quota: int, full_at: float, moment: datetime) -> Allowance:
    """What a request is told that found no token."""
    owed = full_at - moment.timestamp()
    wait = math.ceil(owed + WINDOW_SECONDS / quota - WINDOW_SECONDS)
    return Allowance(quota, 0, max(1, math.ceil(owed)), max(1, wait))
