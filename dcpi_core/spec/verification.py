"""What came out when somebody trained again on a bundle: a record beside it. No torch.

Nobody signs it. It says who measured what, where and with which versions, so that a reader can
weigh it, and repeat it.
"""

from statistics import fmean, stdev
from typing import Final, Literal

from pydantic import Field

from dcpi_core.spec.base import Record
from dcpi_core.spec.report import Environment

FORMAT: Final = "dcpi-verification/1"

STANDARD_DEVIATIONS = 3
SMALLEST_DEVIATION = 0.01
"""Of accuracies in [0, 1]: a few runs may agree by chance much better than others will."""

Verdict = Literal["reproduced", "not reproduced"]


class Verification(Record):
    """Students trained again from a bundle's bytes alone, beside those of its report.

    Attributes:
        bundle: the bundle's id.
        manifest_sha256: of its manifest, which names the digest of every other file.
        created_at: UTC, ISO 8601.
        environment: where the students were trained again.
        network: of the students; protocol and epochs are the report's.
        seeds: of the students trained again, a prefix of the report's.
        reported: last-epoch test accuracies in [0, 1] as the report has them, all of them.
        measured: those of the students trained again.
        difference: mean of ``measured`` minus mean of ``reported``.
        tolerance: how large the difference may be without being held against the bundle.
    """

    format: Literal["dcpi-verification/1"] = FORMAT
    bundle: str
    manifest_sha256: str
    created_at: str
    environment: Environment
    protocol: str
    epochs: int
    network: str
    seeds: tuple[int, ...]
    reported: tuple[float, ...] = Field(min_length=1)
    measured: tuple[float, ...] = Field(min_length=1)
    difference: float
    tolerance: float
    verdict: Verdict


def tolerance_of(reported: tuple[float, ...], measured: tuple[float, ...]) -> float:
    """How far two means may lie apart: three sample standard deviations of the wider runs.

    A single run has no deviation of its own; a deviation below one point counts as one point.
    """
    spreads = [stdev(runs) for runs in (reported, measured) if len(runs) > 1]
    return STANDARD_DEVIATIONS * max([SMALLEST_DEVIATION, *spreads])


def verdict_of(reported: tuple[float, ...], measured: tuple[float, ...]) -> Verdict:
    """Whether the means agree within ``tolerance_of`` them; a better mean disagrees, too."""
    apart = abs(fmean(measured) - fmean(reported))
    return "reproduced" if apart <= tolerance_of(reported, measured) else "not reproduced"
