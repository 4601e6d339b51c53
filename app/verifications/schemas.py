"""Verifications as they are asked for and shown."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.condensed.schemas import VerificationOutcome, outcome_of
from app.jobs.schemas import JobError
from app.jobs.states import Status
from app.models import Verification as Row
from dcpi_core.spec.base import Record
from dcpi_core.spec.job import MAX_DEADLINE_SECONDS, Priority
from dcpi_core.spec.verification import Verification

MAX_REPEATS = 20
DEFAULT_REPEATS = 3


class VerificationCreate(Record):
    """How thoroughly to verify, and how to treat the job that does."""

    repeats: int | None = Field(
        None,
        ge=1,
        le=MAX_REPEATS,
        description="students to train again for each arm, at most as many as the report has; "
        f"default: {DEFAULT_REPEATS}, or all if the report has fewer",
    )
    deadline_seconds: int | None = Field(
        None,
        ge=1,
        le=MAX_DEADLINE_SECONDS,
        description="counted from the submission; a job that is not done by then is expired",
    )
    priority: Priority = Field("normal", description="order among your own queued jobs")


class VerificationRead(BaseModel):
    """A verification: the job that carries it out, and what it found."""

    object: Literal["verification"] = "verification"
    id: str
    condensed_id: str
    job_id: str
    status: Status = Field(description="of the job")
    repeats: int = Field(description="students that are trained again for each arm")
    outcome: VerificationOutcome | None = Field(
        description="passed: every arm that the files hold was reproduced; failed: one was not, "
        "or a file is damaged; null until the job has succeeded"
    )
    record: Verification | None = Field(
        description="by arm: what was reported, what was measured, the tolerance and its reason"
    )
    error: JobError | None = Field(description="why there is no record")
    created_at: datetime
    finished_at: datetime | None
    urls: dict[str, str]


def read_verification(row: Row) -> VerificationRead:
    """A row as it is shown."""
    job = row.job
    whole = f"/v1/condensed/{row.condensed_id}"
    error = None
    if job.error_code is not None:
        error = JobError(code=job.error_code, detail=job.error_detail or "")
    return VerificationRead(
        id=row.id,
        condensed_id=row.condensed_id,
        job_id=row.job_id,
        status=Status(job.status),
        repeats=row.repeats,
        outcome=None if row.verdict is None else outcome_of(row.verdict),
        record=None if row.record is None else Verification.model_validate(row.record),
        error=error,
        created_at=row.created_at,
        finished_at=row.finished_at,
        urls={
            "self": f"{whole}/verifications/{row.id}",
            "job": f"/v1/jobs/{row.job_id}",
            "events": f"/v1/jobs/{row.job_id}/events",
            "condensed": whole,
            "badge": f"{whole}/badge.svg",
        },
    )
