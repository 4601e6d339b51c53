"""No privileged information: the base method alone."""

from dcpi_core.registry import PRIVILEGED_TYPES


@PRIVILEGED_TYPES.register("none", source="control")
class NoPrivileged:
    """Nothing is attached; the condensed set is the base method's own."""
