"""What the service answers. Fields that a newer service adds are kept, not refused."""

from typing import Annotated, Any, Generic, TypeVar

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from dcpi_core.spec.verification import Verification as Record

Item = TypeVar("Item")

TERMINAL = frozenset({"succeeded", "failed", "cancelled", "crashed", "expired"})
"""Statuses that a job leaves only by a retry."""


class Answer(BaseModel):
    """Base of every answer. Ids are text here even where the service counts."""

    model_config = ConfigDict(frozen=True, extra="allow", coerce_numbers_to_str=True)


class JobProgress(Answer):
    """How far a job is; ``fraction`` is of the phase."""

    phase: str | None = None
    step: int = 0
    total_steps: int = 0
    fraction: float = 0.0
    message: str = ""


class JobResult(Answer):
    """What a job that succeeded has made."""

    condensed_id: str


class JobError(Answer):
    """Why a job failed."""

    code: str
    detail: str = ""


class Job(Answer):
    """One job: ``kind`` is condense, or verify, which has no result but a verification."""

    id: str
    kind: str = "condense"
    status: str
    phase: str | None = None
    progress: JobProgress | None = None
    result: JobResult | None = None
    error: JobError | None = None
    starts_from: str | None = None
    urls: dict[str, str] = Field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.status in TERMINAL


class Event(Answer):
    """One line of a job's history: a status, progress or log; a stream ends with an ``end``."""

    id: str = Field("", validation_alias=AliasChoices("id", "seq"))
    type: str
    data: dict[str, Any] = Field(default_factory=dict)


class Dataset(Answer):
    """A source dataset: published or uploaded; ``id`` is what a job's ``dataset`` takes."""

    id: str
    name: str = ""


class Verified(Answer):
    """What the latest verification found: ``outcome`` is none, passed or failed."""

    outcome: str = "none"
    verified_at: str | None = None
    n: int | None = None
    verification_id: str | None = None


class Condensed(Answer):
    """One condensed dataset."""

    id: str
    verified: Verified = Verified()


def _record(given: Any) -> Any:
    return given if given is None else Record.model_validate(given, extra="ignore")


class Verification(Answer):
    """Students trained again on the published files of a condensed dataset.

    ``status`` is that of the job ``job_id``; ``outcome`` and ``record`` are there once it has
    succeeded.
    """

    id: str
    condensed_id: str
    job_id: str
    status: str
    repeats: int
    outcome: str | None = None
    record: Annotated[Record | None, BeforeValidator(_record)] = None
    error: JobError | None = None


class RemoteFile(Answer):
    """One file of a condensed dataset."""

    path: str
    bytes: int
    sha256: str


class WebhookEndpoint(Answer):
    """Where events are posted; ``secret`` is there when it was just made, and never again."""

    id: str
    url: str
    events: tuple[str, ...] = ()
    enabled: bool = True
    secret: str | None = Field(None, repr=False)


class WebhookDelivery(Answer):
    """A message to an endpoint; ``id`` is the ``webhook-id`` of every try."""

    id: str
    type: str
    job_id: str
    status: str
    tries: int = 0
    last_status: int | None = None
    last_error: str | None = None


class Component(Answer):
    """A method, privileged type or architecture with the JSON Schema of its options."""

    name: str
    title: str = ""
    options_schema: dict[str, Any] = Field(default_factory=dict)


class Page(Answer, Generic[Item]):
    """Part of a list; ``last_id`` goes into ``after`` to get the next one."""

    data: tuple[Item, ...]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False
