"""What a job does. All kinds share one queue, one life and one way of being worked on."""

from enum import StrEnum


class Kind(StrEnum):
    """``condense`` makes a condensed dataset; ``verify`` trains again on one that is there."""

    CONDENSE = "condense"
    VERIFY = "verify"
