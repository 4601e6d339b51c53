"""The states of a job and the changes that are allowed between them."""

from enum import StrEnum


class Status(StrEnum):
    """``failed`` is the job's own fault and final; ``crashed`` means the machines gave up."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CRASHED = "crashed"


TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.CANCELLED}),
    Status.RUNNING: frozenset(
        {Status.SUCCEEDED, Status.FAILED, Status.CRASHED, Status.QUEUED, Status.CANCELLING}
    ),
    # A job may finish or fail in the moment before its worker hears of the cancellation.
    Status.CANCELLING: frozenset({Status.CANCELLED, Status.SUCCEEDED, Status.FAILED}),
    Status.CANCELLED: frozenset(),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CRASHED: frozenset(),
}

TERMINAL = frozenset(status for status, later in TRANSITIONS.items() if not later)
LEASED = (Status.RUNNING, Status.CANCELLING)


def allowed_before(later: Status) -> list[str]:
    """States from which ``later`` may be reached."""
    return [before.value for before, after in TRANSITIONS.items() if later in after]
