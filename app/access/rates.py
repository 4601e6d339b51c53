"""How often a key may ask: a token bucket in the key's own row.

It lives in SQL because every API process sees that, whatever the broker is and whether it is up.
The bucket is one number, the moment at which it will be full again (the generic cell rate
algorithm), so that taking a token is a single UPDATE: of two processes that want the last token
one gets it.
"""

import math
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Float, bindparam, case, update
from sqlalchemy.orm import Session

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


_now, _cost = bindparam("now", type_=Float), bindparam("cost", type_=Float)
_full_at = case((ApiKey.bucket_full_at > _now, ApiKey.bucket_full_at), else_=_now) + _cost
_TAKE = (
    update(ApiKey)
    .where(ApiKey.id == bindparam("key_id"), _full_at <= _now + WINDOW_SECONDS)
    .values(bucket_full_at=_full_at)
    .returning(ApiKey.bucket_full_at)
    .execution_options(synchronize_session=False)
)


def take(session: Session, key: ApiKey, moment: datetime) -> Allowance | None:
    """Take a token from the key's bucket; None if the key has no limit."""
    quota = key.requests_per_minute
    if quota is None:
        return None
    now, cost = moment.timestamp(), WINDOW_SECONDS / quota
    full_at = session.scalar(_TAKE, {"key_id": key.id, "now": now, "cost": cost})
    if full_at is None:
        session.refresh(key)  # others may have taken tokens since it was read
        wait = math.ceil(key.bucket_full_at + cost - now - WINDOW_SECONDS)
        return Allowance(quota, 0, max(1, math.ceil(key.bucket_full_at - now)), max(1, wait))
    owed = full_at - now
    # A hair more than the exact number, which rounding may have put below a whole one.
    remaining = int((WINDOW_SECONDS - owed) / cost + 1e-6)
    return Allowance(quota, remaining, math.ceil(owed))
