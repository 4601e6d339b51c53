"""HTTP of API keys; all of it takes the scope ``admin``."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path

from app.access import service
from app.access.schemas import KeyCreate, KeyCreated, KeyRead
from app.access.scopes import KEYS
from app.kit.app_state import SessionDep, StateDep
from app.kit.bodies import JsonRoute
from app.kit.pages import Page, PageQueryDep, only_known_parameters
from app.kit.problems import documented

router = APIRouter(
    prefix=KEYS,
    tags=["keys"],
    dependencies=[Depends(only_known_parameters)],
    route_class=JsonRoute,
)

KeyId = Annotated[
    str, Path(pattern=r"^key_[0-9A-Z]{26}$", examples=["key_01JD0000000000000000000000"])
]


@router.post(
    "",
    status_code=201,
    operation_id="createKey",
    response_model=KeyCreated,
    responses=documented(409, 413, 415, 422),
    summary="Make an API key",
)
def create_key(body: KeyCreate, session: SessionDep, state: StateDep) -> Any:
    """A key of your own tenant. It is shown in this answer and never again.

    There is no `Idempotency-Key` here, since the answer would have to be stored with the key in it.
    """
    return service.create(session, state.settings, body)


@router.get(
    "",
    operation_id="listKeys",
    response_model=Page[KeyRead],
    responses=documented(422),
    summary="List API keys",
)
def list_keys(session: SessionDep, page: PageQueryDep) -> Any:
    """The keys of your tenant, newest first, those that are revoked or expired included."""
    return service.find(session, page)


@router.get(
    "/{key_id}",
    operation_id="getKey",
    response_model=KeyRead,
    responses=documented(404, 422),
    summary="Get an API key",
)
def get_key(key_id: KeyId, session: SessionDep) -> Any:
    """What the key may do, and when it was last used."""
    return service.get(session, key_id)


@router.post(
    "/{key_id}/revoke",
    operation_id="revokeKey",
    response_model=KeyRead,
    responses=documented(404, 422),
    summary="Revoke an API key",
)
def revoke_key(key_id: KeyId, session: SessionDep) -> Any:
    """End a key for good, from the next request on; revoking again changes nothing."""
    return service.revoke(session, key_id)
