"""Which arms of a report can be measured again from a bundle's bytes, and on what."""

from dataclasses import replace
from typing import get_args

import pytest
import torch

from dcpi_core.bundle import load
from dcpi_core.evaluation.claims import NOT_IN_THE_BUNDLE, claims_of
from dcpi_core.spec.report import ArmName

ARMS = [name for part in get_args(ArmName) for name in get_args(part)]
TRAINABLE = {"privileged", "base", "tuned", "permuted", "other_view"}


@pytest.fixture
def claiming(bundle_dir):
    """The bundle with a report of the named arms."""
    loaded = load(bundle_dir)
    arm = loaded.report.arm("base")

    def of(*names: str):
        arms = tuple(arm.model_copy(update={"name": name}) for name in names)
        return replace(loaded, report=loaded.report.model_copy(update={"arms": arms}))

    return of


def test_the_walk_sees_every_arm():
    assert len(ARMS) >= 13
    assert set(ARMS) >= TRAINABLE


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_is_trained_again_or_has_a_reason_not_to_be(claiming, name):
    claims, others = claims_of(claiming(name))
    assert [claim.arm.name for claim in claims] == ([name] if name in TRAINABLE else [])
    assert [other.reason for other in others] == (
        [] if name in TRAINABLE else [NOT_IN_THE_BUNDLE[name]]
    )


def test_what_each_arm_is_trained_on(claiming):
    found = claiming("base", "privileged", "permuted", "other_view")
    base, shipped, permuted, view = claims_of(found)[0]
    assert base.training_set.privileged == ()
    assert shipped.training_set is view.training_set is found.condensed
    for claim in (base, permuted):
        assert torch.equal(claim.training_set.images, found.condensed.images)
        assert torch.equal(claim.training_set.labels, found.condensed.labels)
    (own, soft), (moved, same) = found.condensed.privileged, permuted.training_set.privileged
    assert torch.equal(moved.values, own.values.roll(found.spec.images_per_class, 0))
    assert same is soft, "labels that stand in for the class stay"
    assert shipped.recipe == found.recipe
    assert view.recipe == replace(found.recipe, augmentation="dsa")


def test_where_images_were_tuned_those_of_the_base_method_are_not_there(claiming):
    claims, others = claims_of(claiming("base", "tuned", "privileged"))
    assert [claim.arm.name for claim in claims] == ["tuned", "privileged"]
    assert [(other.arm, other.reason) for other in others] == [
        ("base", "the images were tuned after the base method")
    ]
