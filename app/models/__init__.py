"""All tables."""

from app.models.attempt import Attempt
from app.models.base import Base
from app.models.condensed import Condensed
from app.models.dataset import Dataset
from app.models.device_time import DeviceTime
from app.models.erasure import Erasure
from app.models.job import Job, JobEvent
from app.models.outbox import IdempotencyKey, OutboxMessage
from app.models.tenant import DEFAULT_TENANT, ApiKey, Owned, Tenant
from app.models.verification import Verification
from app.models.webhook import WebhookDelivery, WebhookEndpoint

__all__ = [
    "DEFAULT_TENANT",
    "ApiKey",
    "Attempt",
    "Base",
    "Condensed",
    "Dataset",
    "DeviceTime",
    "Erasure",
    "IdempotencyKey",
    "Job",
    "JobEvent",
    "OutboxMessage",
    "Owned",
    "Tenant",
    "Verification",
    "WebhookDelivery",
    "WebhookEndpoint",
]
