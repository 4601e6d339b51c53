"""What the service answers. Fields that a newer service adds are kept, not refused."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.estimate import Estimate
from dcpi_core.spec.job import JobSpec
from dcpi_core.spec.verification import Verification as Record

Item = TypeVar("Item")
M = TypeVar("M", bound=BaseModel)

TERMINAL = frozenset({"succeeded", "failed", "cancelled", "crashed", "expired"})
"""Statuses that a job leaves only by a retry."""


class Answer(BaseModel):
    """Base of every answer. Ids are text here even where the service counts."""

    model_config = ConfigDict(frozen=True, extra="allow", coerce_numbers_to_str=True)


def _if_readable(model: type[M]) -> Callable[[Any], M | None]:
    """For what a newer service may say in words of its own: the rest of its answer still counts."""

    def read(given: Any) -> M | None:
        try:
            return model.model_validate(given, extra="ignore")
        except ValidationError:
            return None

    return read


Facts = Annotated[DatasetFacts | None, BeforeValidator(_if_readable(DatasetFacts))]
ExpectedCost = Annotated[Estimate | None, BeforeValidator(_if_readable(Estimate))]
Spec = Annotated[JobSpec | None, BeforeValidator(_if_readable(JobSpec))]


class JobProgress(Answer):
    """How far a job is; ``fraction`` is of the phase."""

    phase: str | None = None
    step: int = 0
    total_steps: int = 0
    fraction: float = 0.0
    message: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)


class JobResult(Answer):
    """What a job that succeeded has made; ``headline`` is mean, std and n of every arm."""

    condensed_id: str
    headline: dict[str, Any] = Field(default_factory=dict)


class JobError(Answer):
    """Why a job failed."""

    code: str
    detail: str = ""


class Job(Answer):
    """One job: ``kind`` is condense, or verify, which has no result but a verification.

    Attributes:
        queue_ahead: your queued jobs before it; none once it is not queued, and none in lists.
        attempt: how many attempts at it have begun, without those that cost none.
        cached: its result is that of an earlier job with the same spec.
        estimate: what it was expected to cost; none if this version cannot read it.
        spec: every default resolved; none if this version cannot read it.
        starts_from: ``checkpoint`` or ``beginning``, in the answer to a retry.
    """

    id: str
    kind: str = "condense"
    status: str
    name: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    dataset: str = ""
    base_method: str = ""
    pi_type: tuple[str, ...] = ()
    images_per_class: int | None = None
    num_images: int | None = None
    effective_fraction: float | None = None
    phase: str | None = None
    progress: JobProgress | None = None
    attempt: int = 0
    queue_ahead: int | None = None
    priority: str = "normal"
    cached: bool = False
    deadline_at: datetime | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    estimate: ExpectedCost = None
    spec: Spec = None
    result: JobResult | None = None
    error: JobError | None = None
    starts_from: str | None = None
    urls: dict[str, str] = Field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.status in TERMINAL


class Attempt(Answer):
    """One worker's attempt at a job: ``outcome`` is the state it left the job in, ``code`` why."""

    number: int
    worker: str = ""
    shrink: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: str | None = None
    code: str | None = None
    detail: str | None = None


class Event(Answer):
    """One line of a job's history: a status, progress or log; a stream ends with an ``end``."""

    id: str = Field("", validation_alias=AliasChoices("id", "seq"))
    type: str
    data: dict[str, Any] = Field(default_factory=dict)


class Dataset(Answer):
    """A source dataset: published or uploaded; ``id`` is what a job's ``dataset`` takes."""

    id: str
    name: str = ""
    origin: str = ""
    num_train: int | None = None
    num_classes: int | None = None
    facts: Facts = None
    created_at: datetime | None = None


class Verified(Answer):
    """What the latest verification found: ``outcome`` is none, passed or failed."""

    outcome: str = "none"
    verified_at: str | None = None
    n: int | None = None
    verification_id: str | None = None


class Condensed(Answer):
    """One condensed dataset.

    Attributes:
        top1: mean test accuracy of students trained on it with all of its labels, in [0, 1].
        headline: mean, std and n of every arm of its report.
        urls: paths of its parts at the service.
    """

    id: str
    job_id: str = ""
    dataset: str = ""
    base_method: str = ""
    pi_type: tuple[str, ...] = ()
    images_per_class: int | None = None
    top1: float | None = None
    headline: dict[str, Any] = Field(default_factory=dict)
    bytes_total: int | None = None
    verified: Verified = Verified()
    created_at: datetime | None = None
    urls: dict[str, str] = Field(default_factory=dict)


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
