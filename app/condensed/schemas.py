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


class CondensedRead(BaseModel):
    """A condensed dataset."""

    object: Literal["condensed"] = "condensed"
    id: str
    job_id: str
    dataset: str
    base_method: str
    pi_type: list[str]
    images_per_class: int
    top1: float = Field(description="mean test accuracy of students trained on it, 0 to 1")
    headline: dict[str, Any] = Field(description="mean, std and n of every arm of the report")
    bytes_total: int
    created_at: datetime
    urls: dict[str, str]


def read_condensed(row: Condensed) -> CondensedRead:
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
        created_at=row.created_at,
        urls={
            "self": own,
            "job": f"/v1/jobs/{row.job_id}",
            "manifest": f"{own}/manifest.json",
            "report": f"{own}/report.json",
            "preview": f"{own}/preview.png",
            "files": f"{own}/files",
            "archive": f"{own}/archive",
        },
    )
