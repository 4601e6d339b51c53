"""HTTP of jobs."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request
from fastapi.responses import Response
from pydantic import AfterValidator, BeforeValidator
from pydantic_core import to_json
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from app.jobs import checkpoints, control, polling, service
from app.jobs.kinds import Kind
from app.jobs.schemas import AttemptRead, EventRead, JobRead, JobRetried
from app.jobs.states import Status
from app.jobs.stream import MEDIA_TYPE, EventStream
from app.jobs.submission import submit
from app.kit.app_state import KEY, SessionDep, StateDep, fetch, transact
from app.kit.bodies import JsonRoute
from app.kit.clock import as_text, as_utc
from app.kit.idempotency import KeyHeader
from app.kit.pages import Page, PageQueryDep, only_known_parameters
from app.kit.problems import documented
from dcpi_core.spec.estimate import Estimate
from dcpi_core.spec.job import JobSubmission

router = APIRouter(
    prefix="/v1/jobs",
    tags=["jobs"],
    dependencies=[Depends(only_known_parameters)],
    route_class=JsonRoute,
)

JobId = Annotated[
    str, Path(pattern=r"^job_[0-9A-Z]{26}$", examples=["job_01JD0000000000000000000000"])
]
Text = Annotated[str | None, Query(max_length=64, pattern=r"^[^\x00]*$")]

JSON = "application/json"
EXAMPLES: dict[str, Any] = {
    "digits": {
        "summary": "A minute on a laptop: ten images, with feature labels",
        "value": {
            "dataset": "digits",
            "fraction": "0.7%",
            "base_method": "dc",
            "pi_type": "feature",
            "options": {"base": {"iterations": 100}},
        },
    },
    "coreset": {
        "summary": "Ten real images per class, with soft and feature labels",
        "value": {
            "dataset": "digits",
            "images_per_class": 10,
            "base_method": "herding",
            "pi_type": ["soft", "feature"],
        },
    },
    "cifar10": {
        "summary": "CIFAR-10, one image per class, with the published settings",
        "value": {
            "dataset": "cifar10",
            "fraction": "0.02%",
            "base_method": "dc",
            "pi_type": "feature",
            "options": {"pi": {"feature": {"preset": "published"}}, "evaluation": {"repeats": 5}},
        },
    },
}
LOCATION: dict[str, Any] = {
    "headers": {"Location": {"description": "path of the job", "schema": {"type": "string"}}}
}


def _statuses(given: Any) -> Any:
    """Take ``a,b`` as well as two parameters, and the American spelling."""
    if not isinstance(given, list):
        return given
    words = [word for text in given for word in str(text).split(",")]
    return ["cancelled" if word == "canceled" else word for word in words]


def _to_utc(given: datetime | None) -> datetime | None:
    return None if given is None else as_utc(given)


Request_ = Annotated[JobSubmission, Body(openapi_examples=EXAMPLES)]


@router.post(
    "",
    status_code=202,
    operation_id="createJob",
    response_model=JobRead,
    responses={202: LOCATION, **documented(413, 415, 422)},
    summary="Submit a job",
)
async def create_job(
    body: Request_, state: StateDep, idempotency_key: KeyHeader = None
) -> Response:
    """Check the request, resolve every default and queue the job.

    With an `Idempotency-Key`, a repeated request gets the first answer again.
    """
    answer, repeated = await transact(
        state, partial(submit, settings=state.settings, request=body, key=idempotency_key)
    )
    headers = {"Location": f"/v1/jobs/{answer['id']}"}
    if repeated:
        headers["Idempotency-Replayed"] = "true"
    # As it was shown and stored: to check it against the model once more would take its time.
    return Response(to_json(answer), 202, headers, JSON)


@router.post(
    "/estimate",
    operation_id="estimateJob",
    response_model=Estimate,
    responses=documented(413, 415, 422),
    summary="What a job would cost",
)
def estimate_job(body: Request_, session: SessionDep, state: StateDep) -> Any:
    """Bytes by part, images per class and a range of seconds; nothing is started."""
    return service.estimate_request(session, state.settings, body)


@router.api_route("/estimate", methods=["GET", "DELETE"], include_in_schema=False)
def estimates_are_posted() -> None:
    """Or it would be answered as a job whose id is malformed."""
    raise HTTPException(405)


@router.get(
    "",
    operation_id="listJobs",
    response_model=Page[JobRead],
    responses=documented(422),
    summary="List jobs, newest first",
)
def list_jobs(
    session: SessionDep,
    page: PageQueryDep,
    status: Annotated[
        list[Status] | None,
        BeforeValidator(_statuses),
        Query(description="one or several, repeated or with commas"),
    ] = None,
    kind: Kind | None = None,
    dataset: Text = None,
    base_method: Text = None,
    pi_type: Text = None,
    created_after: Annotated[
        datetime | None, BeforeValidator(as_text), AfterValidator(_to_utc)
    ] = None,
) -> Any:
    """Jobs that match every filter given."""
    filters = {
        "status": status,
        "kind": kind,
        "dataset": dataset,
        "base_method": base_method,
        "pi_type": pi_type,
    }
    return service.find(session, page, filters, created_after)


@router.get(
    "/{job_id}",
    operation_id="getJob",
    response_model=JobRead,
    responses=documented(404, 422),
    summary="Get a job",
)
async def get_job(
    request: Request,
    job_id: JobId,
    state: StateDep,
    wait: Annotated[
        int, Query(ge=0, le=polling.LONGEST_SECONDS, description="seconds; answer at the job's end")
    ] = 0,
) -> Any:
    """The job, how far it is, and where its result is.

    With `wait` the answer comes as soon as the job has ended, at the latest after so many seconds,
    or at once where too many streams and requests that wait are open.
    """
    key_id = getattr(request.state, KEY, None)
    return await polling.look(state, request.app.state.tail, job_id, wait, key_id)


@router.post(
    "/{job_id}/cancel",
    operation_id="cancelJob",
    response_model=JobRead,
    responses=documented(404, 422),
    summary="Cancel a job",
)
def cancel_job(job_id: JobId, session: SessionDep) -> Any:
    """End a job; one that has ended stays as it is. Running work stops within seconds."""
    return service.show(session, control.cancel(session, job_id))


@router.post(
    "/{job_id}/pause",
    operation_id="pauseJob",
    response_model=JobRead,
    responses=documented(404, 409, 422),
    summary="Pause a job",
)
def pause_job(job_id: JobId, session: SessionDep) -> Any:
    """Stop a job without losing its work; a deadline goes on counting.

    A running job is `pausing` until its worker has written a checkpoint, then `paused`.
    """
    return service.show(session, control.pause(session, job_id))


@router.post(
    "/{job_id}/resume",
    operation_id="resumeJob",
    response_model=JobRead,
    responses=documented(404, 409, 422),
    summary="Resume a paused job",
)
def resume_job(job_id: JobId, session: SessionDep) -> Any:
    """Put a paused job back into the queue; it goes on from its checkpoint."""
    return service.show(session, control.resume(session, job_id))


@router.post(
    "/{job_id}/retry",
    operation_id="retryJob",
    response_model=JobRetried,
    responses=documented(404, 409, 422),
    summary="Retry a job that ended without a result",
)
async def retry_job(job_id: JobId, state: StateDep) -> Any:
    """Queue a `failed`, `crashed`, `cancelled` or `expired` job again, under the same id.

    It goes on from its checkpoint if one is left, and `starts_from` says whether. Attempts and
    deadline count anew.
    """
    found = await fetch(state, partial(checkpoints.stored, job_id=job_id))
    start = "checkpoint" if found else "beginning"

    def retry(session: Session) -> JobRetried:
        job = control.retry(session, job_id, from_checkpoint=found)
        return JobRetried(**service.show(session, job).model_dump(), starts_from=start)

    return await transact(state, retry)


@router.get(
    "/{job_id}/attempts",
    operation_id="listJobAttempts",
    response_model=Page[AttemptRead],
    responses=documented(404, 422),
    summary="Who worked on a job, and why each attempt ended",
)
def list_job_attempts(job_id: JobId, session: SessionDep) -> Any:
    """All attempts, oldest first; one that ran out of memory is followed by a smaller one."""
    return service.attempts_at(session, job_id)


@router.get(
    "/{job_id}/events",
    operation_id="listJobEvents",
    response_model=Page[EventRead],
    responses=documented(404, 422, 503)
    | {200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}},
    summary="What happened to a job",
)
def list_job_events(
    request: Request,
    job_id: JobId,
    session: SessionDep,
    state: StateDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    accept: Annotated[str, Header()] = "application/json",
    last_event_id: Annotated[str | None, Header(pattern=r"^\d{1,9}$")] = None,
) -> Any:
    """A page of events as JSON, or with `Accept: text/event-stream` a live stream.

    The stream begins after `Last-Event-ID`, so a broken connection loses and repeats nothing. Its
    events are `status`, `progress` and `log`; after `end`, which carries the job, it closes, and
    also once its API key is revoked. Where this key has too many streams open, the answer is 429;
    where all have, 503.
    """
    page = service.history(session, job_id, after, limit)
    if MEDIA_TYPE in accept:
        return EventStream(state, request.app.state.tail, job_id, int(last_event_id or after))
    return page
