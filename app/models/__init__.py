"""All tables."""

from app.models.base import Base
from app.models.condensed import Condensed
from app.models.dataset import Dataset
from app.models.job import Job, JobEvent
from app.models.outbox import IdempotencyKey, OutboxMessage

__all__ = ["Base", "Condensed", "Dataset", "IdempotencyKey", "Job", "JobEvent", "OutboxMessage"]
