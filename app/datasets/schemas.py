"""Datasets as they are shown."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.models import Dataset
from dcpi_core.spec.dataset import DatasetFacts


class DatasetRead(BaseModel):
    """A dataset that jobs can be about."""

    object: Literal["dataset"] = "dataset"
    id: str = Field(description="what to give as `dataset` in a job; the name works as well")
    name: str
    origin: Literal["published", "uploaded"]
    num_train: int
    num_classes: int
    facts: DatasetFacts
    created_at: datetime | None = None


def read_upload(row: Dataset) -> DatasetRead:
    """An upload as it is shown."""
    facts = DatasetFacts.model_validate(row.facts)
    return DatasetRead(
        id=row.id,
        name=row.name,
        origin="uploaded",
        num_train=facts.num_train,
        num_classes=facts.num_classes,
        facts=facts,
        created_at=row.created_at,
    )


def read_published(facts: DatasetFacts) -> DatasetRead:
    """A dataset of the catalogue as it is shown."""
    return DatasetRead(
        id=facts.name,
        name=facts.name,
        origin="published",
        num_train=facts.num_train,
        num_classes=facts.num_classes,
        facts=facts,
    )
