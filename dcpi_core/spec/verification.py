"""What came out when somebody trained again on a bundle. No torch.

Nobody signs it. It says who measured what, where and with which versions, so that a reader can
weigh it, and repeat it.
"""

from statistics import fmean, stdev
from typing import Final, Literal

from pydantic import Field

from dcpi_core.spec.base import Record
from dcpi_core.spec.report import Arm, ArmName, Environment

FORMAT: Final = "dcpi-verification/2"

STANDARD_DEVIATIONS = 3
SMALLEST_DEVIATION = 0.01
"""Of accuracies in [0, 1]: a few runs may agree by chance much better than others will."""

ArmVerdict = Literal["reproduced", "not reproduced"]
Verdict = Literal["reproduced", "not reproduced", "damaged"]


class ArmVerification(Record):
    """One arm of a report beside students trained again on it; accuracies are in [0, 1].

    Attributes:
        reported: last-epoch test accuracies as the report has them, all of them.
        measured: those of the students trained again.
        difference: ``measured_mean`` minus ``reported_mean``.
        tolerance: how large the difference may be without being held against the bundle.
        tolerance_reason: where the tolerance comes from, in words.
    """

    arm: ArmName
    title: str
    network: str
    reported: tuple[float, ...] = Field(min_length=1)
    measured: tuple[float, ...] = Field(min_length=1)
    reported_mean: float
    measured_mean: float
    difference: float
    tolerance: float
    tolerance_reason: str
    verdict: ArmVerdict

    @classmethod
    def of(cls, arm: Arm, measured: tuple[float, ...]) -> "ArmVerification":
        """Compare what the report says of an arm with what was measured."""
        return cls(
            arm=arm.name,
            title=arm.title,
            network=arm.network,
            reported=arm.runs,
            measured=measured,
            reported_mean=arm.mean,
            measured_mean=fmean(measured),
            difference=fmean(measured) - arm.mean,
            tolerance=tolerance_of(arm.runs, measured),
            tolerance_reason=_reason_of(arm.runs, measured),
            verdict=verdict_of(arm.runs, measured),
        )


class Unverified(Record):
    """An arm that the bundle's bytes do not suffice for, and why."""

    arm: ArmName
    network: str
    reason: str


class FailedCheck(Record):
    """A file that is not as it was published, or a property that does not hold."""

    name: str
    detail: str


class Verification(Record):
    """Students trained again from a bundle's bytes alone, beside those of its report.

    A bundle whose files are damaged is not trained on: ``failed_checks`` names them, and the fields
    about the training are empty.

    Attributes:
        bundle: the bundle's id; none where its manifest cannot be read.
        manifest_sha256: of its manifest, which names the digest of every other file.
        created_at: UTC, ISO 8601.
        environment: where the students were trained again.
        protocol: of the report, and so are the epochs.
        seeds: of the students trained again, a prefix of the report's.
        arms: those that the bundle's bytes suffice for.
        unverified: the other arms of the report.
        verdict: ``reproduced`` if all of ``arms`` are.
    """

    format: Literal["dcpi-verification/2"] = FORMAT
    bundle: str | None
    manifest_sha256: str | None
    created_at: str
    environment: Environment
    protocol: str | None = None
    epochs: int | None = None
    seeds: tuple[int, ...] = ()
    arms: tuple[ArmVerification, ...] = ()
    unverified: tuple[Unverified, ...] = ()
    failed_checks: tuple[FailedCheck, ...] = ()
    verdict: Verdict


def tolerance_of(reported: tuple[float, ...], measured: tuple[float, ...]) -> float:
    """How far two means may lie apart: three sample standard deviations of the wider runs.

    A single run has no deviation of its own; a deviation below one point counts as one point.
    """
    return STANDARD_DEVIATIONS * max(SMALLEST_DEVIATION, _widest(reported, measured))


def verdict_of(reported: tuple[float, ...], measured: tuple[float, ...]) -> ArmVerdict:
    """Whether the means agree within ``tolerance_of`` them; a better mean disagrees, too."""
    apart = abs(fmean(measured) - fmean(reported))
    return "reproduced" if apart <= tolerance_of(reported, measured) else "not reproduced"


def _reason_of(reported: tuple[float, ...], measured: tuple[float, ...]) -> str:
    widest = _widest(reported, measured)
    times = f"{STANDARD_DEVIATIONS} times"
    if widest < SMALLEST_DEVIATION:
        least = f"{SMALLEST_DEVIATION:g}, the least standard deviation that is assumed of students"
        return f"{times} {least}; these have {widest:.4f}"
    whose = "reported" if _widest(reported) >= _widest(measured) else "measured"
    return f"{times} {widest:.4f}, the standard deviation of the {whose} runs"


def _widest(*groups: tuple[float, ...]) -> float:
    return max((stdev(runs) for runs in groups if len(runs) > 1), default=0.0)
