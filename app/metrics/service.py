"""One page of metrics: the service's own and this process's."""

from sqlalchemy.orm import Session

from app.kit.app_state import AppState
from app.kit.exposition import Metric, Sample, render
from app.metrics import repository


def page(session: Session, state: AppState) -> str:
    """All metrics as they are scraped."""
    streams = Sample(state.streams.statistics().borrowed_tokens)
    return render(
        [
            *repository.metrics(session),
            *state.requests.metrics(),
            Metric("streams_open", "gauge", "Event streams and long polls open here.", [streams]),
        ]
    )
