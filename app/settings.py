"""Every setting of the service; the only reader of the environment."""

import os
import re
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from dcpi_core.spec.errors import InvalidInput

MIN_SECRET = 32
OF_DRIVERS = ("AWS_", "PG")
"""What those of S3 and PostgreSQL read by themselves, such as PGPASSWORD."""


class Settings(BaseSettings):
    """Read from variables with the prefix ``DCPI_``; the defaults run on one machine as it is."""

    model_config = SettingsConfigDict(
        env_prefix="DCPI_",
        env_ignore_empty=True,
        frozen=True,
        hide_input_in_errors=True,  # some of it is secret
    )

    home: Path = Field(Path("var"), description="directory for everything without its own setting")
    database_url: str = Field("", description="SQLAlchemy URL; default: SQLite in home")
    storage_url: str = Field("", description="s3://bucket or a directory; default: home/objects")
    s3_endpoint: str = Field("", description="URL of an S3 service other than Amazon's")
    s3_region: str = Field("us-east-1", description="region of the bucket")
    s3_access_key_id: str | None = Field(None, description="default: what the machine provides")
    s3_secret_access_key: SecretStr | None = Field(
        None, description="belongs to the key id: set both or neither"
    )
    broker_url: str = Field("redis://127.0.0.1:6379/0", description="Celery broker")
    queue: str = Field("gpu", description="queue of new jobs: gpu, cpu or a name of your own")
    data_root: Path | None = Field(
        None, description="local copies of published datasets; default: ~/.cache/dcpi/datasets"
    )
    host: str = Field(
        "127.0.0.1", description="where `dcpi serve` listens; give uvicorn its own --host"
    )
    port: int = Field(8000, ge=0, le=65535, description="the same; containers always use 8000")
    auth: Literal["auto", "on", "off", "open"] = Field(
        "auto",
        description="whether requests need API keys: `auto`, `on`, `off` or `open`, as "
        "docs/deploy.md says under API keys",
    )
    key_secret: SecretStr | None = Field(
        None, description="API keys are stored as HMAC under this; needed where keys are"
    )
    requests_per_minute: int = Field(600, ge=0, description="limit of a new API key; 0: none")
    log_format: Literal["text", "json"] = Field("text", description="text or json, a line each")
    max_json_bytes: int = Field(1 << 20, ge=1024, description="largest JSON body")
    max_upload_bytes: int = Field(4 * 2**30, ge=1, description="largest archive of an upload")
    inspect_seconds: int = Field(1800, ge=1, description="time limit for reading an upload")
    max_streams: int = Field(500, ge=1, description="event streams that one process keeps open")
    streams_per_key: int = Field(20, ge=1, description="of these, for a single API key")
    max_images: int = Field(100_000, ge=1, description="largest condensed set of a job")
    lease_seconds: float = Field(60.0, gt=0, description="silence after which a worker is dead")
    heartbeat_seconds: float = Field(15.0, gt=0, description="at most half of the lease")
    max_attempts: int = Field(
        3, ge=1, description="attempts at a job that break before it is given up as crashed"
    )
    retry_seconds: float = Field(
        15.0, ge=0, description="pause before the second attempt; four times that before the third"
    )
    republish_seconds: float = Field(
        60.0, gt=0, description="ring again for a job that nobody has claimed for so long"
    )
    keep_checkpoints_hours: float = Field(
        72.0, ge=0, description="a job that ended without a result may go on from its checkpoint"
    )
    retention_days: float | None = Field(
        None, gt=0, description="ended jobs and their results are deleted; default: never"
    )
    webhook_allow_private: bool = Field(
        False, description="webhooks may go to private addresses and by http; for development"
    )
    stall_seconds: float = Field(1800.0, gt=0, description="silent work is stopped after so long")

    @field_validator("s3_access_key_id", "s3_secret_access_key", mode="before")
    @classmethod
    def _empty_is_absent(cls, given: Any) -> Any:
        """An empty key would be sent as one, and refused."""
        text = given.get_secret_value() if isinstance(given, SecretStr) else given
        return given if text else None

    @field_validator("storage_url")
    @classmethod
    def _a_storage_is_a_bucket_or_a_directory(cls, given: str) -> str:
        """Any other address would be taken for a directory of that name, each process's own."""
        if re.fullmatch(r"s3://[\w.-]+/?", given):
            return given.rstrip("/")
        if "://" in given:
            raise ValueError("must be s3:// and the name of a bucket, or the path of a directory")
        return given

    @field_validator("key_secret")
    @classmethod
    def _a_secret_cannot_be_guessed(cls, given: SecretStr | None) -> SecretStr | None:
        if given is not None and len(given.get_secret_value()) < MIN_SECRET:
            raise ValueError(f"must have at least {MIN_SECRET} characters")
        return given

    @model_validator(mode="after")
    def _a_lease_outlasts_a_lost_heartbeat(self) -> Self:
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            raise ValueError(
                f"DCPI_HEARTBEAT_SECONDS is {self.heartbeat_seconds:g} and DCPI_LEASE_SECONDS is "
                f"{self.lease_seconds:g}: the lease must be at least twice the heartbeat, or one "
                "heartbeat that comes late costs a job its worker"
            )
        return self

    @model_validator(mode="after")
    def _a_key_has_two_halves(self) -> Self:
        if (self.s3_access_key_id is None) != (self.s3_secret_access_key is None):
            raise ValueError(
                "set both DCPI_S3_ACCESS_KEY_ID and DCPI_S3_SECRET_ACCESS_KEY, or neither"
            )
        return self

    @classmethod
    def read(cls) -> Self:
        """What the environment says; raises InvalidInput, with the variable that is wrong."""
        try:
            return cls()
        except ValidationError as error:
            raise InvalidInput("; ".join(map(_told, error.errors(include_input=False)))) from None

    @classmethod
    def variables(cls) -> list[str]:
        """Names of the environment variables that are read, by us or our drivers; many secret."""
        ours = (f"DCPI_{name.upper()}" for name in cls.model_fields)
        set_here = os.environ  # noqa: TID251 - nothing is read but names
        return [*ours, *(name for name in set_here if name.startswith(OF_DRIVERS))]

    @cached_property
    def resolved_database_url(self) -> str:
        """The database in use."""
        return self.database_url or f"sqlite:///{(self.home / 'dcpi.db').absolute()}"

    @cached_property
    def resolved_storage_url(self) -> str:
        """The object storage in use."""
        if self.storage_url.startswith("s3://"):
            return self.storage_url
        return str(Path(self.storage_url or self.home / "objects").absolute())


def _told(error: Any) -> str:
    message = error["msg"].removeprefix("Value error, ")
    return ": ".join([*(f"DCPI_{name.upper()}" for name in error["loc"]), message])
