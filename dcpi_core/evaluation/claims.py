"""What a report claims that can be tried again: arms whose training set the bundle itself holds."""

from dataclasses import dataclass, replace

from dcpi_core.bundle.reader import Bundle
from dcpi_core.condensed import CondensedSet
from dcpi_core.evaluation.controls import permuted
from dcpi_core.spec.protocols import other_view_of
from dcpi_core.spec.report import Arm, bare_arm
from dcpi_core.spec.verification import Unverified
from dcpi_core.training import Recipe

NOT_IN_THE_BUNDLE = {
    "random": "its images are drawn from the source",
    "base": "the images were tuned after the base method",
    "assigned": "its labels were not shipped",
    "equal_bytes": "its images were not shipped",
    "equal_steps": "its images were not shipped",
    "random_privileged": "its images are drawn from the source",
    "noise": "its labels were not shipped",
    "full": "it is all training images of the source",
    "random_other_view": "its images are drawn from the source",
}
"""Why an arm cannot be measured again from the bytes of a bundle."""


@dataclass(frozen=True)
class Claim:
    """An arm of a report with what its students learned from, as the bundle's bytes have it."""

    arm: Arm
    training_set: CondensedSet
    recipe: Recipe


def claims_of(bundle: Bundle) -> tuple[list[Claim], list[Unverified]]:
    """The report's arms that can be measured again from the bundle's bytes, and the others."""
    claims, others = [], []
    for arm in bundle.report.arms:
        claim = _claim_of(arm, bundle)
        if claim is None:
            reason = NOT_IN_THE_BUNDLE[arm.name]
            others.append(Unverified(arm=arm.name, network=arm.network, reason=reason))
        else:
            claims.append(claim)
    return claims, others


def _claim_of(arm: Arm, bundle: Bundle) -> Claim | None:
    shipped, own = bundle.condensed, bundle.recipe
    if arm is bare_arm(bundle.report.arms, arm.network):
        return Claim(arm, shipped.with_privileged(), own)
    if arm.name == "privileged":
        return Claim(arm, shipped, own)
    if arm.name == "permuted":
        return Claim(arm, permuted(shipped, bundle.spec.images_per_class), own)
    if arm.name == "other_view":
        view = other_view_of(bundle.spec.evaluation.protocol, bundle.spec.dataset.name)
        return Claim(arm, shipped, replace(own, augmentation=view))
    return None
