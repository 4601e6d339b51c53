"""What is done in rounds: each duty for itself, so that one that fails holds up no other."""

import logging
from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)

Duty = Callable[[], object]


def do_each(duties: Sequence[Duty]) -> None:
    """Call each; one that fails is logged, and tried again when its caller comes round again."""
    for duty in duties:
        try:
            duty()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next round may succeed
            logger.warning("%s will be tried again: %s", duty.__name__, error)
