"""HTTP of metrics; keep it from the outside, as docs/operate.md says."""

from fastapi import APIRouter
from fastapi.responses import Response

from app.kit.app_state import SessionDep, StateDep
from app.kit.exposition import MEDIA_TYPE
from app.metrics import service

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    summary="Numbers for Prometheus",
)
def metrics(session: SessionDep, state: StateDep) -> Response:
    """Jobs, queues and whatever waits, as the database knows it, and what this process answered."""
    return Response(service.page(session, state), media_type=MEDIA_TYPE)
