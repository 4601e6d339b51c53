"""Condensed datasets as they are shown."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.models import Condensed


class FileRead(BaseModel):
    """One file of a bundle."""

    path: str
    bytes: int
    sha256: str
    media_type: str


VerificationOutcome = Literal["none", "passed", "failed"]


class Verified(BaseModel):
    """What the latest verification of a condensed dataset found."""

    outcome: VerificationOutcome = Field(
        "none",
        description="passed: students trained again on the files reach what the report says; "
        "failed: they do not, or a file is damaged; none: not verified yet",
    )
    verified_at: datetime | None = None
    n: int | None = Field(None, description="students trained again of each arm; null if none were")
    verification_id: str | None = None


class CondensedRead(BaseModel):
    """A condensed dataset."""

    object: Literal["condensed"] = "condensed"
    id: str
    job_id: str
    dataset: str
    base_method: str
    pi_type: list[str]
    images_per_class: int
    top1: float = Field(
        description="mean test accuracy, 0 to 1, of students trained on it with all of its labels"
    )
    headline: dict[str, Any] = Field(description="mean, std and n of every arm of the report")
    bytes_total: int
    verified: Verified
    created_at: datetime
    urls: dict[str, str]


def outcome_of(verdict: str) -> VerificationOutcome:
    """The verdict of a ``dcpi_core.spec.verification.Verification`` in a word."""
    return "passed" if verdict == "reproduced" else "failed"


def read_verified(found: Any) -> Verified:
    """The columns of ``repository.latest_verifications``, if there are any, as they are shown."""
    if found is None:
        return Verified()
    return Verified(
        outcome=outcome_of(found.verdict),
        verified_at=found.finished_at,
        n=None if found.verdict == "damaged" else found.repeats,
        verification_id=found.id,
    )


def read_condensed(row: Condensed, verified: Verified) -> CondensedRead:
    """A row as it is shown."""
    own = f"/v1/condensed/{row.id}"
    return CondensedRead(
        id=row.id,
        job_id=row.job_id,
        dataset=row.dataset,
        base_method=row.base_method,
        pi_type=row.pi_types.split(","),
        images_per_class=row.images_per_class,
        top1=row.top1,
        headline=row.headline,
        bytes_total=row.bytes_total,
        verified=verified,
        created_at=row.created_at,
        urls={
            "self": own,
            "job": f"/v1/jobs/{row.job_id}",
            "manifest": f"{own}/manifest.json",
            "report": f"{own}/report.json",
            "preview": f"{own}/preview.png",
            "files": f"{own}/files",
            "archive": f"{own}/archive",
            "verifications": f"{own}/verifications",
            "badge": f"{own}/badge.svg",
        },
    )
