"""HTTP of metrics: numbers of the whole service, for whoever runs it."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.kit.app_state import TENANT, AppState, Seat
from app.kit.exposition import MEDIA_TYPE
from app.kit.problems import documented
from app.metrics import service

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=Response,
    responses=documented(404) | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    summary="Numbers for Prometheus",
)
def metrics(request: Request, _: Seat) -> Response:
    """Jobs, queues and whatever waits, as the database knows it, and what this process answered.

    They count everybody's jobs, so where there are keys they are told to keys of the tenant
    ``default`` only.
    """
    whole: AppState = request.app.state.dcpi
    text = service.page(whole, getattr(request.state, TENANT))
    return Response(text, media_type=MEDIA_TYPE)
