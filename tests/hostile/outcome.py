"""What became of a hostile archive, in three words."""

import re
from pathlib import Path

from dcpi_core.datasets import load_prepared
from tests.hostile.reader import Reading

NAMED, WHOLE, ACCEPTED, FINDING = (
    "refused, entry named",
    "refused as a whole",
    "accepted",
    "finding",
)

_ENTRY = re.compile(r"\b(entry|entries|class|classes) ['\"]|such as ['\"]|class folders are ['\"]")


def outcome(found: Reading, out: Path, memory_mb: int) -> str:
    """Refused in words, or taken and sound; anything else is a finding."""
    if found.strays or found.left or found.peak_mb > memory_mb:
        return FINDING
    if found.accepted:
        load_prepared(out)  # compares the fingerprint of what was stored
        return ACCEPTED
    if not found.refusal or not found.refusal.isprintable():
        return FINDING
    return NAMED if _ENTRY.search(found.refusal) else WHOLE
