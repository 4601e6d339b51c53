"""Differences, and which arms are compared."""

from typing import get_args

import pytest

from dcpi_core.bundle.previews import BARS
from dcpi_core.evaluation.reporting import PAIRS, differences
from dcpi_core.spec.job import Control
from tests.core.problems import arm


def test_differences_have_the_sign_and_the_size_of_the_runs():
    arms = [arm("base", 0.1, 0.2), arm("privileged", 0.3, 0.5), arm("permuted", 0.2, 0.2)]
    found = {(d.arm, d.against): d for d in differences(arms)}
    assert set(found) == {("privileged", "base"), ("privileged", "permuted")}
    assert found["privileged", "base"].mean == pytest.approx(0.25)
    assert found["privileged", "base"].standard_error == pytest.approx(0.05)
    assert found["privileged", "permuted"].mean == pytest.approx(0.2)


def test_what_tuning_the_images_did_is_not_credited_to_the_labels():
    arms = [arm(name, 0.1) for name in ("base", "tuned", "assigned", "privileged", "noise")]
    told = {(d.arm, d.against): d.tells for d in differences(arms)}
    assert told["privileged", "base"] == "what the tuned images and their labels are worth together"
    assert told["privileged", "assigned"] == (
        "what tuning the images and learning labels are worth together"
    )
    assert told["noise", "assigned"] == (
        "what the tuned images, with labels moved at random, are worth"
    )
    assert told["privileged", "tuned"] == (
        "what the labels are worth beside the tuning of the images"
    )
    assert told["privileged", "noise"] == (
        "learning the labels against moving them at random as far"
    )


def test_where_images_were_not_tuned_the_labels_have_it_all():
    arms = [arm(name, 0.1) for name in ("base", "assigned", "privileged", "noise")]
    told = {(d.arm, d.against): d.tells for d in differences(arms)}
    assert told["privileged", "base"] == "what the labels are worth"
    assert told["privileged", "assigned"] == "what learning the labels is worth"
    assert told["noise", "assigned"] == "what moving the labels at random does"


def test_networks_are_not_mixed():
    arms = [arm("base", 0.1), arm("privileged", 0.3), arm("base", 0.7, network="MLP")]
    assert [(d.network, d.mean) for d in differences(arms)] == [("ConvNetD2", pytest.approx(0.2))]


@pytest.mark.parametrize("control", get_args(Control))
def test_every_control_is_compared_with_another_arm_and_has_a_colour(control):
    assert control in {against for _, against, _ in PAIRS}
    assert control in BARS
