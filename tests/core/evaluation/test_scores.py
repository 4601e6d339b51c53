"""Scores against values worked out by hand."""

import math

import pytest

from dcpi_core.evaluation.scores import SCORES, normalised, scores
from tests.core.problems import arm

ARMS = [
    arm("random", 0.2, 0.1),
    arm("base", 0.3, 0.3),
    arm("privileged", 0.4, 0.5),
    arm("random_privileged", 0.25, 0.15),
    arm("full", 0.8, 0.7),
    arm("other_view", 0.5, 0.5),
    arm("random_other_view", 0.2, 0.1),
]


def found(arms):
    return {score.name: score for score in scores(arms)}


@pytest.mark.parametrize(
    ("alpha", "value"),
    [(-1, 0.0), (0, 0.2689414), (1, 1.0), (-0.2, 0.1918187), (0.1, 0.3136873)],
)
def test_the_range_is_mapped_onto_0_to_1(alpha, value):
    assert normalised(alpha) == pytest.approx(value, abs=1e-6)


def test_no_effect_is_the_logistic_of_minus_one():
    assert normalised(0) == pytest.approx(1 / (1 + math.e))


def test_differences_run_by_run():
    got = found(ARMS)
    expected = {
        "pi_gain": (0.1, 0.2),
        "ior": (0.2, 0.4),
        "ior_pi": (0.15, 0.35),
        "hlr": (0.5, 0.4),
    }
    for name, runs in expected.items():
        assert got[name].runs == pytest.approx(runs), name
        assert got[name].mean == pytest.approx(sum(runs) / 2)
        assert got[name].standard_error == pytest.approx(abs(runs[1] - runs[0]) / 2)


def test_lrs_and_ars_are_means_of_scores_not_scores_of_means():
    got = found(ARMS)
    # alpha = (ior - hlr) / 2: -0.15 and 0; beta = (other view + ior) / 2: 0.25 and 0.4
    for name, alphas in (("lrs", (-0.15, 0.0)), ("ars", (0.25, 0.4))):
        by_hand = [
            (math.exp(alpha) - math.exp(-1)) / (math.exp(1) - math.exp(-1)) for alpha in alphas
        ]
        assert got[name].runs == pytest.approx(by_hand), name
        assert got[name].mean == pytest.approx(sum(by_hand) / 2)


def test_without_labels_the_images_are_what_is_shipped():
    got = found([each for each in ARMS if "privileged" not in each.name])
    assert got["ior"].runs == pytest.approx((0.1, 0.2))
    for name in ("pi_gain", "ior_pi"):
        assert (got[name].mean, got[name].reason) == (None, "the set has no privileged labels")


def test_labels_on_tuned_images_are_measured_against_those_images():
    got = found([*ARMS, arm("tuned", 0.35, 0.45)])
    assert got["pi_gain"].runs == pytest.approx((0.05, 0.05))
    assert got["hlr"].runs == pytest.approx((0.45, 0.25))


def test_a_missing_arm_is_named():
    got = found(ARMS[:3])
    assert got["lrs"].reason == "the job did not ask for the control full"
    assert got["ars"].reason.endswith("the controls other_view and random_other_view")
    assert [name for name, score in got.items() if score.runs] == ["pi_gain", "ior"]


def test_each_student_has_its_own():
    more = [arm("random", 0.1, network="MLP"), arm("base", 0.4, network="MLP")]
    got = scores([*ARMS, *more])
    assert len(got) == 2 * len(SCORES)
    (mlp,) = [s for s in got if (s.name, s.network) == ("ior", "MLP")]
    assert mlp.mean == pytest.approx(0.3)
    assert mlp.standard_error is None
