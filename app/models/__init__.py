"""All tables."""

from app.models.base import Base
from app.models.condensed import Condensed
from app.models.dataset import Dataset
from app.models.job import Job, JobEvent
from app.models.outbox import IdempotencyKey, OutboxMessage
from app.models.tenant import DEFAULT_TENANT, ApiKey, Owned, Tenant

__all__ = [
    "DEFAULT_TENANT",
    "ApiKey",
    "Base",
    "Condensed",
    "Dataset",
    "IdempotencyKey",
    "Job",
    "JobEvent",
    "OutboxMessage",
    "Owned",
    "Tenant",
]
