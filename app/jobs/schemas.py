"""Jobs as they are shown."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.jobs.kinds import Kind
from app.jobs.states import Status
from app.models import Attempt, Job, JobEvent
from dcpi_core.spec.job import JobSpec, Priority

RANKS: dict[Priority, int] = {"low": -1, "normal": 0, "high": 1}
NAMES_OF_RANKS = {rank: name for name, rank in RANKS.items()}


class JobProgress(BaseModel):
    """How far the current phase is."""

    phase: str
    step: int
    total_steps: int
    fraction: float = Field(description="of this phase, 0 to 1")
    message: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)


class JobError(BaseModel):
    """Why a job ended without a result."""

    code: str
    detail: str


class JobResult(BaseModel):
    """What a job gave."""

    condensed_id: str
    headline: dict[str, Any]


class JobRead(BaseModel):
    """A job: what was asked, what it came to mean, how far it is."""

    object: Literal["job"] = "job"
    id: str
    kind: Kind = Field(description="condense: makes a set; verify: trains again on one")
    status: Status
    name: str | None
    metadata: dict[str, str]
    dataset: str
    base_method: str
    pi_type: list[str]
    images_per_class: int
    num_images: int
    effective_fraction: float
    phase: str | None
    progress: JobProgress | None
    attempt: int
    queue_ahead: int | None = Field(
        description="your queued jobs before this one; 1000: so many or more; not counted in lists"
    )
    priority: Priority
    cached: bool = Field(description="the result is that of an earlier job with the same spec")
    deadline_at: datetime | None = Field(description="when the job expires unless it is done")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    estimate: dict[str, Any]
    spec: JobSpec = Field(
        description="every default resolved; the same spec gives the same data. Of a verification: "
        "that of the verified set"
    )
    result: JobResult | None = Field(
        description="null until there is one, once it is deleted, and for a verification, whose "
        "record is among `urls.verifications`"
    )
    error: JobError | None
    urls: dict[str, str]


class JobRetried(JobRead):
    """A job that was queued again."""

    starts_from: Literal["checkpoint", "beginning"]


class AttemptRead(BaseModel):
    """One worker's attempt at a job."""

    number: int = Field(description="counts from 1, hand-overs and retries included")
    worker: str
    shrink: int = Field(description="how often the work was made smaller for want of memory")
    started_at: datetime
    ended_at: datetime | None
    outcome: Status | None = Field(description="the state the job was left in")
    code: str | None = Field(description="why, as a stable word: out_of_memory, worker_lost, ...")
    detail: str | None


class EventRead(BaseModel):
    """Something that happened to a job."""

    id: int = Field(description="counts from 1 within the job; the id of the SSE event")
    type: Literal["status", "progress", "log"]
    data: dict[str, Any]
    created_at: datetime


def read_job(job: Job, queue_ahead: int | None = None, spec: JobSpec | None = None) -> JobRead:
    """A row as it is shown; its spec is read from it unless it is at hand."""
    spec = spec or JobSpec.model_validate(job.spec)
    progress = None if job.progress is None else JobProgress.model_validate(job.progress)
    error = None
    if job.error_code is not None:
        error = JobError(code=job.error_code, detail=job.error_detail or "")
    result = None
    if job.condensed_id is not None:
        result = JobResult(condensed_id=job.condensed_id, headline=job.headline or {})
    return JobRead(
        id=job.id,
        kind=Kind(job.kind),
        status=Status(job.status),
        name=job.name,
        metadata=job.labels,
        dataset=job.dataset,
        base_method=job.base_method,
        pi_type=job.pi_types.split(","),
        images_per_class=job.images_per_class,
        num_images=spec.num_images,
        effective_fraction=spec.effective_fraction,
        phase=None if progress is None else progress.phase,
        progress=progress,
        attempt=job.attempt,
        queue_ahead=queue_ahead,
        priority=NAMES_OF_RANKS[job.priority],
        cached=job.cached,
        deadline_at=job.deadline_at,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        estimate=job.estimate,
        spec=spec,
        result=result,
        error=error,
        urls=_urls(job),
    )


def read_attempt(attempt: Attempt) -> AttemptRead:
    """A row as it is shown."""
    return AttemptRead.model_validate(attempt, from_attributes=True)


def read_event(event: JobEvent) -> EventRead:
    """A row as it is shown."""
    return EventRead.model_validate(
        {"id": event.seq, "type": event.type, "data": event.data, "created_at": event.created_at}
    )


def _urls(job: Job) -> dict[str, str]:
    own = f"/v1/jobs/{job.id}"
    urls = {"self": own, "events": f"{own}/events"}
    urls |= {verb: f"{own}/{verb}" for verb in ("cancel", "pause", "resume", "retry")}
    if job.condensed_id is not None:
        urls["result"] = f"/v1/condensed/{job.condensed_id}"
    if job.kind == Kind.VERIFY:
        urls["condensed"] = f"/v1/condensed/{job.request['condensed_id']}"
        urls["verifications"] = f"{urls['condensed']}/verifications"
    return urls
