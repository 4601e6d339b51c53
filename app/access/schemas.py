"""Keys as they are asked for and shown."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from app.access.scopes import Scope
from app.kit.clock import as_text, as_utc, now
from app.models import ApiKey


def _in_the_future(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    moment = as_utc(moment)
    if moment <= now():
        raise ValueError("must lie in the future; leave it out for a key that does not expire")
    return moment


class KeyCreate(BaseModel):
    """A key that is wanted."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=64, description="what it is for", examples=["ci"])
    scopes: list[Scope] = Field(
        [Scope.READ, Scope.WRITE],
        min_length=1,
        max_length=len(Scope),
        description="`write` includes `read`; `admin` includes both and manages keys",
    )
    expires_at: Annotated[
        datetime | None, BeforeValidator(as_text), AfterValidator(_in_the_future)
    ] = None


class KeyRead(BaseModel):
    """A key without its secret."""

    object: Literal["key"] = "key"
    id: str = Field(description="the key itself holds it: `dcpi_<id without key_>_...`")
    name: str
    scopes: list[Scope]
    requests_per_minute: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="to within five minutes")


class KeyCreated(KeyRead):
    """A new key; this answer is the only one that holds it."""

    key: str = Field(
        description="send it as `Authorization: Bearer <key>`; it is not shown again",
        examples=["dcpi_01JD0000000000000000000000_..."],
    )


def read_key(row: ApiKey) -> KeyRead:
    """A row as it is shown."""
    return KeyRead(
        id=row.id,
        name=row.name,
        scopes=[Scope(name) for name in row.scopes.split(",")],
        requests_per_minute=row.requests_per_minute,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
