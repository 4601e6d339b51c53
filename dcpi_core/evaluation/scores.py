"""Scores that sum up several arms, run by run: LRS and ARS of DD-Ranking, IOR, and the PI gain.

The definitions are those of DD-Ranking (Li et al., 2025), on accuracies in [0, 1]; its published
code takes the exponential of per cents, which leaves nothing but the sign. Its protocol is not
ours: it searches a learning rate for each arm and keeps the best epoch on test data.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from dcpi_core.spec.report import Arm, Score, ScoreName, bare_arm, shipped_arm

WEIGHT = 0.5
"""Of either half of LRS and ARS, as published."""

Run = Mapping[str, float]
"""Accuracy of every arm in one run; ``shipped`` and ``images`` stand for arms of that meaning."""


def normalised(alpha: float) -> float:
    """From [-1, 1] onto [0, 1], rising ever faster: (e^alpha - e^-1) / (e - e^-1); 0.269 at 0."""
    return (math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1))


def pi_gain(run: Run) -> float:
    """What the labels add to the very images that are shipped."""
    return run["privileged"] - run["images"]


def ior(run: Run) -> float:
    """Improvement over random: the shipped set against random images, each by the protocol."""
    return run["shipped"] - run["random"]


def ior_pi(run: Run) -> float:
    """The same with labels on either side: what is left once random images have labels, too."""
    return run["privileged"] - run["random_privileged"]


def hlr(run: Run) -> float:
    """Hard label recovery: how far the shipped images, without labels, stay behind all images."""
    return run["full"] - run["images"]


def lrs(run: Run) -> float:
    """Label robust score, in [0, 1]: high where little is owed to the kind of labels."""
    return normalised(WEIGHT * ior(run) - (1 - WEIGHT) * hlr(run))


def ars(run: Run) -> float:
    """Augmentation robust score, in [0, 1]: improvement over random with and without augmentation.

    One of the two is the protocol itself, the other its other view; they weigh the same.
    """
    other = run["other_view"] - run["random_other_view"]
    return normalised(WEIGHT * other + (1 - WEIGHT) * ior(run))


class _Definition(NamedTuple):
    of: Callable[[Run], float]
    arms: tuple[str, ...]


SCORES: dict[ScoreName, _Definition] = {
    "pi_gain": _Definition(pi_gain, ("privileged",)),
    "ior": _Definition(ior, ()),
    "ior_pi": _Definition(ior_pi, ("privileged", "random_privileged")),
    "hlr": _Definition(hlr, ("full",)),
    "lrs": _Definition(lrs, ("full",)),
    "ars": _Definition(ars, ("other_view", "random_other_view")),
}
"""Every score, and the arms that a report may lack for it."""


def scores(arms: Sequence[Arm]) -> tuple[Score, ...]:
    """Every score of every student; one that lacks an arm says which.

    Args:
        arms: of one report, ``random`` and ``base`` among them.
    """
    networks = dict.fromkeys(arm.network for arm in arms)
    return tuple(
        _score(name, network, {arm.name: arm for arm in arms if arm.network == network})
        for network in networks
        for name in SCORES
    )


def _score(name: ScoreName, network: str, arms: Mapping[str, Arm]) -> Score:
    missing = [needed for needed in SCORES[name].arms if needed not in arms]
    if "privileged" in missing:
        return Score(name=name, network=network, reason="the set has no privileged labels")
    if missing:
        wanted = " and ".join(missing)
        reason = f"the job did not ask for the control{'s' * (len(missing) > 1)} {wanted}"
        return Score(name=name, network=network, reason=reason)
    own = tuple(arms.values())
    shipped, images = shipped_arm(own), bare_arm(own)
    assert shipped is not None  # a report without the arm base is none
    assert images is not None
    named = {**arms, "shipped": shipped, "images": images}
    runs = [
        SCORES[name].of({arm: found.runs[number] for arm, found in named.items()})
        for number in range(arms["base"].n)
    ]
    return Score(
        name=name,
        network=network,
        runs=tuple(runs),
        mean=fmean(runs),
        standard_error=stdev(runs) / math.sqrt(len(runs)) if len(runs) > 1 else None,
    )
