"""One page of metrics: the service's own and this process's."""

from app.kit.app_state import AppState
from app.kit.db import reading
from app.kit.exposition import Metric, Sample, render
from app.metrics import repository
from app.models import DEFAULT_TENANT
from dcpi_core.spec.errors import NotFound


def page(state: AppState, tenant_id: str) -> str:
    """All metrics as they are scraped.

    Args:
        state: with the sessions of the whole service.
        tenant_id: who asks.

    Raises:
        NotFound: somebody asks who does not run the service.
    """
    if tenant_id != DEFAULT_TENANT:
        raise NotFound("metrics are told to keys of the tenant 'default'")
    streams = Sample(state.streams.taken)
    with reading(state.sessions) as session:
        found = repository.metrics(session)
    return render(
        [
            *found,
            *state.requests.metrics(),
            Metric("streams_open", "gauge", "Event streams and long polls open here.", [streams]),
        ]
    )
