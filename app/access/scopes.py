"""What a key may do."""

from enum import StrEnum

READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
KEYS = "/v1/keys"
ESTIMATE = "/v1/jobs/estimate"


class Scope(StrEnum):
    """``write`` includes ``read``, ``admin`` includes both and manages the tenant's keys."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


def needed(method: str, path: str) -> Scope:
    """The scope that a request takes: decided by what it is, so that no operation lacks one."""
    if path == KEYS or path.startswith(KEYS + "/"):
        return Scope.ADMIN
    if method in READING_METHODS or path == ESTIMATE:  # an estimate changes nothing
        return Scope.READ
    return Scope.WRITE


def allows(held: frozenset[Scope], wanted: Scope) -> bool:
    """Whether one of the scopes includes the wanted one."""
    rank = list(Scope)
    return any(rank.index(scope) >= rank.index(wanted) for scope in held)
