"""HTTP of verifications and of the badge that sums them up."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Request
from fastapi.responses import JSONResponse, Response

from app.condensed.endpoints import CondensedId
from app.kit.app_state import SessionDep, StateDep
from app.kit.bodies import JsonRoute
from app.kit.idempotency import KeyHeader
from app.kit.pages import Page, PageQueryDep, only_known_parameters
from app.kit.problems import documented
from app.verifications import badge, service
from app.verifications.schemas import VerificationCreate, VerificationRead

router = APIRouter(
    prefix="/v1/condensed/{condensed_id}",
    tags=["condensed"],
    dependencies=[Depends(only_known_parameters)],
    route_class=JsonRoute,
)

VerificationId = Annotated[
    str, Path(pattern=r"^ver_[0-9A-Z]{26}$", examples=["ver_01JD0000000000000000000000"])
]
AS_USUAL = VerificationCreate()
LOCATION: dict[str, Any] = {
    "headers": {
        "Location": {"description": "path of the verification", "schema": {"type": "string"}}
    }
}
SVG: dict[int | str, dict[str, Any]] = {
    200: {"content": {badge.MEDIA_TYPE: {}}},
    304: {"description": "not modified"},
}


@router.post(
    "/verifications",
    status_code=202,
    operation_id="createVerification",
    response_model=VerificationRead,
    responses={202: LOCATION, **documented(404, 409, 413, 415, 422)},
    summary="Verify a condensed dataset",
)
def create_verification(
    condensed_id: CondensedId,
    session: SessionDep,
    state: StateDep,
    body: Annotated[VerificationCreate, Body()] = AS_USUAL,
    idempotency_key: KeyHeader = None,
) -> JSONResponse:
    """Queue a job that checks every published file and trains students on them again.

    What they reach is compared with the report, arm by arm. The job is one like all others: it can
    be watched, paused and cancelled, takes its turn, and counts against the same quotas. With an
    `Idempotency-Key`, a repeated request gets the first answer again.
    """
    answer, repeated = service.create(session, state.settings, condensed_id, body, idempotency_key)
    headers = {"Location": answer["urls"]["self"]}
    if repeated:
        headers["Idempotency-Replayed"] = "true"
    return JSONResponse(answer, 202, headers)


@router.get(
    "/verifications",
    operation_id="listVerifications",
    response_model=Page[VerificationRead],
    responses=documented(404, 422),
    summary="List the verifications of a condensed dataset, newest first",
)
def list_verifications(condensed_id: CondensedId, session: SessionDep, page: PageQueryDep) -> Any:
    """Those that are still to come included."""
    return service.find(session, condensed_id, page)


@router.get(
    "/verifications/{verification_id}",
    operation_id="getVerification",
    response_model=VerificationRead,
    responses=documented(404, 422),
    summary="Get a verification",
)
def get_verification(
    condensed_id: CondensedId, verification_id: VerificationId, session: SessionDep
) -> Any:
    """The record, once there is one: by arm what was reported and what was measured."""
    return service.get(session, condensed_id, verification_id)


@router.head("/badge.svg", include_in_schema=False)
@router.get(
    "/badge.svg",
    operation_id="getBadge",
    response_class=Response,
    responses={**SVG, **documented(404, 422)},
    summary="What the latest verification found, as a small picture",
)
def get_badge(request: Request, condensed_id: CondensedId, session: SessionDep) -> Response:
    """Passed, failed or not verified, with the date and the students of each arm."""
    return badge.serve(request, service.verified(session, condensed_id))
