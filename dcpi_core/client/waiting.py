"""Waiting for the end of a job: by the service's own long poll, through restarts of the service."""

import math
import time
from collections.abc import Callable

from dcpi_core.client.models import Job
from dcpi_core.spec.errors import DcpiError

Look = Callable[[int, float], Job]
"""Called with how long the service may hold its answer, unless the job ends, and for how long
failures that may pass are to be ridden out; both in seconds."""

HELD_SECONDS = 30  # well below what proxies bear
HELD_SECONDS_WATCHED = 3  # somebody wants to see the progress; 20 requests a minute
REST_SECONDS = 3.0  # between looks, where the service has no place for those who wait
PATIENCE_SECONDS = 600.0  # a restart, a new version or a broken line; jobs take hours


class WaitedTooLong(DcpiError):
    """The job was not finished in time; it goes on regardless."""

    code = "wait_timeout"


def wait_for(look: Look, timeout: float | None, on_change: Callable[[Job], None] | None) -> Job:
    """The job once it is finished; ``on_change`` is told of the first look and every other state.

    Raises:
        WaitedTooLong: it took more than ``timeout`` seconds.
    """
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    longest = HELD_SECONDS if on_change is None else HELD_SECONDS_WATCHED
    held, seen = 0, None
    while True:
        began = time.monotonic()
        job = look(held, min(PATIENCE_SECONDS, max(0.0, deadline - began)))
        if on_change is not None and job != seen:
            on_change(job)
        if job.finished:
            return job
        now = time.monotonic()
        if now >= deadline:
            raise WaitedTooLong(f"job {job.id} is still {job.status} after {timeout:g} s")
        # An answer that was held has taken its time; one that came at once is not asked for again.
        time.sleep(max(0.0, min(REST_SECONDS, began + held - now, deadline - now)))
        held, seen = math.ceil(min(longest, max(1.0, deadline - time.monotonic()))), job
