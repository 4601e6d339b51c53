"""The states of a job and the changes that are allowed between them."""

from enum import StrEnum


class Status(StrEnum):
    """Where a job is in its life.

    ``failed`` is the job's own fault; ``crashed`` means the machines gave up; ``expired`` that its
    deadline passed before it was done. Between ``pausing`` and ``paused``, or ``cancelling`` and
    ``cancelled``, a worker stops in good order.
    """

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CRASHED = "crashed"
    EXPIRED = "expired"


TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.PAUSED, Status.CANCELLED, Status.EXPIRED}),
    Status.RUNNING: frozenset(
        {
            Status.SUCCEEDED,
            Status.FAILED,
            Status.CRASHED,
            Status.QUEUED,
            Status.PAUSING,
            Status.CANCELLING,
            Status.EXPIRED,
        }
    ),
    # A job may finish or fail in the moment before its worker hears what is wanted of it.
    Status.PAUSING: frozenset(
        {
            Status.PAUSED,
            Status.CANCELLING,
            Status.SUCCEEDED,
            Status.FAILED,
            Status.EXPIRED,
        }
    ),
    Status.CANCELLING: frozenset({Status.CANCELLED, Status.SUCCEEDED, Status.FAILED}),
    Status.PAUSED: frozenset({Status.QUEUED, Status.CANCELLED, Status.EXPIRED}),
    Status.SUCCEEDED: frozenset(),
    # Only a person brings these back, by a retry.
    Status.CANCELLED: frozenset({Status.QUEUED}),
    Status.FAILED: frozenset({Status.QUEUED}),
    Status.CRASHED: frozenset({Status.QUEUED}),
    Status.EXPIRED: frozenset({Status.QUEUED}),
}

RETRIED = frozenset({Status.CANCELLED, Status.FAILED, Status.CRASHED, Status.EXPIRED})
"""Ended without a result: a retry may follow."""
TERMINAL = RETRIED | {Status.SUCCEEDED}
"""Nothing more happens by itself."""
LEASED = (Status.RUNNING, Status.PAUSING, Status.CANCELLING)
"""A worker holds the job."""
WAITING = (Status.QUEUED, Status.PAUSED)
"""Nobody works on the job, but somebody will or may."""


def allowed_before(later: Status) -> list[str]:
    """States from which ``later`` may be reached."""
    return [before.value for before, after in TRANSITIONS.items() if later in after]
