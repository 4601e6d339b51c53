"""Every error the project raises on purpose, with a stable code and no knowledge of HTTP.

DcpiError
├── InvalidInput            the caller can mend it; carries the offending fields
│   ├── UnknownName         a name that no registry, catalogue or table knows
│   ├── BudgetError         a fraction or images-per-class that cannot be met
│   └── ArchiveError        an uploaded archive that is no usable image dataset
├── NotAuthenticated        no API key, or one that is not valid (any more)
├── NotAllowed              the API key lacks the scope for this
├── LimitExceeded           a limit of the API key or its tenant; says when to try again
│   ├── RateLimited         too many requests in a short time
│   └── QuotaExceeded       too many jobs, bytes or device seconds
├── NotFound                no object with that id
├── Conflict                the object is in a state that forbids the request
├── DatasetUnavailable      the machine that should read the dataset does not have it
├── BundleError             a bundle whose files, hashes or shapes do not agree
├── CheckpointError         a checkpoint that belongs to another job or is damaged
│   └── OutdatedCheckpoint  a checkpoint that was left by other code
└── TrainingDiverged        a loss or a tensor became NaN or infinite
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

OUT_OF_MEMORY = "out_of_memory"
"""Code of a job that wanted more memory than its machine has; no class of ours is raised for it."""


@dataclass(frozen=True)
class FieldProblem:
    """One offending field: ``pointer`` is a JSON Pointer (RFC 6901) into the request body."""

    pointer: str
    code: str
    message: str


class DcpiError(Exception):
    """Base of all deliberate errors.

    Attributes:
        code: stable snake_case identifier, part of the public contract.
        detail: one sentence for a person: what was wrong and what is allowed.
        problems: the offending fields, empty when no single field is to blame.
    """

    code = "internal_error"

    def __init__(self, detail: str, problems: Sequence[FieldProblem] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.problems = tuple(problems)


class InvalidInput(DcpiError):
    """The request is wrong and says where."""

    code = "invalid_input"

    @classmethod
    def at(cls, pointer: str, message: str, code: str | None = None) -> "InvalidInput":
        """Build the error for a single field."""
        return cls(message, [FieldProblem(pointer, code or cls.code, message)])


class UnknownName(InvalidInput):
    """A name that does not exist; the message lists those that do."""

    code = "unknown_name"

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str], pointer: str = "") -> "UnknownName":
        """Say which ``kind`` of thing is unknown and which names are known."""
        message = f"unknown {kind} {name!r}; available: {', '.join(sorted(known))}"
        return cls(message, [FieldProblem(pointer, cls.code, message)])


class BudgetError(InvalidInput):
    """A budget that gives less than one image per class or more than the dataset holds."""

    code = "budget_out_of_range"


class ArchiveError(InvalidInput):
    """An upload that is not a usable archive of class folders; names the offending entry."""

    code = "invalid_archive"


class NotAuthenticated(DcpiError):
    """There is no API key with the request, or it is unknown, expired or revoked."""

    code = "not_authenticated"


class NotAllowed(DcpiError):
    """Not with the scopes of this API key, or not from another site's page."""

    code = "not_allowed"


class LimitExceeded(DcpiError):
    """A limit is reached.

    Attributes:
        retry_after_seconds: when the same request may succeed; None where time alone changes
            nothing.
    """

    code = "limit_exceeded"

    def __init__(
        self,
        detail: str,
        problems: Sequence[FieldProblem] = (),
        *,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(detail, problems)
        self.retry_after_seconds = retry_after_seconds


class RateLimited(LimitExceeded):
    """More requests in a minute than the API key allows."""

    code = "rate_limited"


class QuotaExceeded(LimitExceeded):
    """More jobs, bytes or device seconds than the tenant may have."""

    code = "quota_exceeded"


class NotFound(DcpiError):
    """No such object, or not the caller's."""

    code = "not_found"


class Conflict(DcpiError):
    """The object's state forbids the request."""

    code = "conflict"


class DatasetUnavailable(DcpiError):
    """The dataset is known but not present on this machine; the message says how to get it."""

    code = "dataset_unavailable"


class BundleError(DcpiError):
    """The bundle's files do not agree with its manifest."""

    code = "invalid_bundle"


class CheckpointError(DcpiError):
    """The checkpoint cannot be continued by this job."""

    code = "invalid_checkpoint"


class OutdatedCheckpoint(CheckpointError):
    """Other code left the checkpoint: results of two versions are never mixed."""

    code = "outdated_checkpoint"


class TrainingDiverged(DcpiError):
    """A loss or tensor became NaN or infinite; lower the learning rate."""

    code = "training_diverged"
