"""Each control differs from the shipped set in one thing, and in that thing exactly."""

from dataclasses import replace

import pytest
import torch

from dcpi_core.bundle.tensors import stored_bytes
from dcpi_core.condensed import CondensedSet
from dcpi_core.datasets.base import normalise
from dcpi_core.evaluation.arms import Ingredients, plan_arms
from dcpi_core.evaluation.controls import (
    ControlPlan,
    moved_at_random,
    permuted,
    plan_controls,
    random_images,
    with_assigned_labels,
)
from dcpi_core.evaluation.protocols import Recipes
from dcpi_core.privileged.features.feature import Feature, FeatureOptions
from dcpi_core.privileged.features.labels import FeatureLabels, LabelSettings
from dcpi_core.privileged.soft import SoftLabels
from dcpi_core.spec.controls import image_bytes, images_per_class_in
from dcpi_core.spec.job import Component, EvaluationSpec, JobSpec
from tests.core.problems import blobs, context

ALL = ("equal_bytes", "equal_steps", "random_privileged", "permuted", "noise")
ANY_SET = ("full", "other_view", "random_other_view")
LABELS = torch.arange(3).repeat_interleave(2)


def features(values):
    return FeatureLabels(values, LabelSettings())


def labelled(values, *more):
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 8, 8).contiguous()
    return CondensedSet(images, LABELS, (features(values), *more))


def spec(controls=ALL, method="dc", per_class=2, options=None):
    if method == "dc":
        options = {"iterations": 1}
    return JobSpec(
        dataset=blobs().facts,
        images_per_class=per_class,
        base_method=Component(name=method, options=options or {}),
        privileged=(),
        network="ConvNetD2",
        evaluation=EvaluationSpec(
            protocol="dc", networks=("ConvNetD2",), repeats=1, epochs=1, controls=controls
        ),
        seed=0,
    )


class TestPermuted:
    def test_labels_go_to_the_next_class_and_nothing_else_moves(self):
        values = torch.arange(6.0).view(6, 1, 1, 1)
        found = permuted(labelled(values), 2)
        assert found.privileged[0].values.flatten().tolist() == [4, 5, 0, 1, 2, 3]
        assert torch.equal(found.labels, LABELS)
        assert torch.equal(found.images, labelled(values).images)

    def test_labels_that_stand_for_the_class_stay(self):
        soft = SoftLabels(torch.eye(3)[LABELS])
        found = permuted(labelled(torch.zeros(6, 1, 1, 1), soft), 2)
        assert torch.equal(found.privileged[1].probabilities, soft.probabilities)

    def test_every_tile_has_labels_of_its_own(self):
        values = torch.arange(24.0).view(24, 1, 1, 1)
        tiled = replace(labelled(values), partition=2)
        found = permuted(tiled, 2).privileged[0].values.flatten()
        assert found.tolist() == [*range(16, 24), *range(16)]
        classes = tiled.as_seen().labels
        assert torch.equal(classes[found.long()], (classes - 1) % 3)


class TestNoise:
    start = torch.zeros(6, 2, 2, 2)
    end = start + torch.linspace(-1, 1, 48).view(6, 2, 2, 2)

    def moved(self, seed=0):
        generator = torch.Generator().manual_seed(seed)
        found = moved_at_random(labelled(self.end), labelled(self.start), generator)
        return found.privileged[0].values - self.start

    def test_it_moves_exactly_as_far_as_learning(self):
        drift = float((self.end - self.start).square().mean().sqrt())
        assert float(self.moved().square().mean().sqrt()) == pytest.approx(drift, rel=1e-6)

    def test_in_a_direction_of_its_own(self):
        assert abs(torch.corrcoef(torch.stack([self.moved(), self.end]).flatten(1))[0, 1]) < 0.4
        assert not torch.equal(self.moved(0), self.moved(1))
        assert torch.equal(self.moved(1), self.moved(1))

    def test_labels_that_were_assigned_stay(self):
        soft = SoftLabels(torch.eye(3)[LABELS])
        sets = labelled(self.end, soft), labelled(self.start, soft)
        found = moved_at_random(*sets, torch.Generator())
        assert torch.equal(found.privileged[1].probabilities, soft.probabilities)

    def test_tuned_images_are_kept(self):
        shipped = replace(labelled(self.end), images=torch.ones(6, 3, 8, 8))
        found = moved_at_random(shipped, labelled(self.start), torch.Generator())
        assert torch.equal(found.images, shipped.images)


class TestEqualBytes:
    facts = blobs().facts
    own = 4 * 3 * 8 * 8 + 8

    def test_an_image_is_stored_as_floats_with_its_label(self):
        plain = CondensedSet(torch.zeros(6, 3, 8, 8), LABELS)
        assert stored_bytes(plain).total == 6 * image_bytes(self.facts) == 6 * self.own

    def test_whole_images_of_every_class(self):
        assert images_per_class_in(3 * 4 * self.own, self.facts) == 4
        assert images_per_class_in(3 * 4 * self.own - 1, self.facts) == 3

    def test_never_more_than_the_smallest_class_has(self):
        assert images_per_class_in(10**9, self.facts) == 20
        scarce = self.facts.model_copy(update={"train_per_class": (20, 7, 20)})
        assert images_per_class_in(10**9, scarce) == 7


class TestWhichApply:
    def plan(self, end, start=None, steps=0, soft=False, **options):
        more = (SoftLabels(torch.eye(3)[LABELS]),) if soft else ()
        shipped, before = labelled(end, *more), labelled(end if start is None else start, *more)
        sets = {"base": shipped.with_privileged(), "enriched": shipped, "start": before}
        return plan_controls(spec(**options), sets, steps)

    def test_all_of_them_where_labels_are_learned_on_synthetic_images(self):
        plan = self.plan(torch.ones(6, 64, 4, 4), torch.zeros(6, 64, 4, 4), steps=5)
        assert plan.names == ALL
        assert plan.further_steps == 5
        assert plan.images_per_class == (2 * (776 + 64 * 16 * 4)) // 776
        assert plan.notes == ()

    def test_what_was_not_asked_for_is_not_missed(self):
        assert self.plan(torch.ones(6, 1, 1, 1), controls=()).notes == ()

    @pytest.mark.parametrize(
        ("given", "left_out", "reason"),
        [
            ({}, "noise", "the labels were assigned, not learned"),
            ({}, "equal_steps", "the labels were assigned, not learned"),
            ({"steps": 5, "method": "herding"}, "equal_steps", "herding has no steps to go on"),
            ({"steps": 5}, "noise", "learning did not move the labels"),
            ({}, "equal_bytes", "its 4,680 bytes hold no more than 2 images per class"),
            ({"per_class": 20}, "equal_bytes", "it has every image of the smallest class"),
        ],
    )
    def test_one_that_does_not_apply_is_left_out_and_says_why(self, given, left_out, reason):
        plan = self.plan(torch.ones(6, 1, 1, 1), **given)
        assert left_out not in plan.names
        (note,) = [note for note in plan.notes if note.startswith(f"Control {left_out} left out")]
        assert reason in note
        assert len(plan.names) + len(plan.notes) == len(ALL)

    def test_soft_labels_alone_cannot_be_permuted(self):
        images = torch.zeros(6, 3, 8, 8)
        shipped = CondensedSet(images, LABELS, (SoftLabels(torch.eye(3)[LABELS]),))
        sets = {"base": shipped.with_privileged(), "enriched": shipped, "start": shipped}
        plan = plan_controls(spec(), sets, 0)
        assert plan.names == ("random_privileged",)
        assert any("stand in for the classes" in note for note in plan.notes)

    def test_learned_probabilities_are_not_moved_at_random(self):
        images, ways = torch.zeros(6, 3, 8, 8), (torch.eye(3)[LABELS], torch.full((6, 3), 1 / 3))
        start, end = (CondensedSet(images, LABELS, (SoftLabels(own),)) for own in ways)
        plan = plan_controls(spec(), {"base": start, "enriched": end, "start": start}, 5)
        assert "noise" not in plan.names
        assert any("stand in for the classes" in note for note in plan.notes)

    def test_labels_are_not_exchanged_between_classes_of_different_sizes(self):
        plan = self.plan(torch.ones(6, 1, 1, 1), method="herding", options={"balance": "free"})
        assert "permuted" not in plan.names
        assert any("permuted left out: the images are not as many" in note for note in plan.notes)

    def test_without_labels_none_applies(self):
        base = CondensedSet(torch.zeros(6, 3, 8, 8), LABELS)
        plan = plan_controls(spec(), {"base": base}, 0)
        assert plan.names == ()
        assert [note.split()[1] for note in plan.notes] == list(ALL)
        assert all("no privileged labels" in note for note in plan.notes)

    def test_nor_is_there_a_gradient_to_compare(self):
        base = CondensedSet(torch.zeros(6, 3, 8, 8), LABELS)
        asked = spec(())
        evaluation = asked.evaluation.model_copy(update={"gradient_alignment": True})
        plan = plan_controls(asked.model_copy(update={"evaluation": evaluation}), {"base": base}, 0)
        assert plan.notes == ("Gradient alignment left out: the set has no privileged labels.",)

    def test_but_those_that_ask_nothing_of_labels(self):
        base = CondensedSet(torch.zeros(6, 3, 8, 8), LABELS)
        plan = plan_controls(spec(ANY_SET), {"base": base}, 0)
        assert (plan.names, plan.notes) == (ANY_SET, ())

    def test_a_class_that_limits_equal_bytes_is_told(self):
        plan = self.plan(torch.ones(6, 128, 16, 16))
        assert plan.images_per_class == 20
        assert any("all of the smallest class" in note for note in plan.notes)


class TestArms:
    def arms(self, tmp_path):
        ctx = context(blobs(), tmp_path)
        kinds = [Feature(FeatureOptions(teacher_epochs=1, teacher_min_steps=0))]
        base = CondensedSet(torch.zeros(6, 3, 8, 8), LABELS)
        assigned = with_assigned_labels(base, kinds, ctx)
        moved = replace(assigned.privileged[0], values=assigned.privileged[0].values + 1)
        sets = {"base": base, "assigned": assigned, "enriched": assigned.with_privileged(moved)}
        sets["start"] = assigned
        job = spec((*ALL, *ANY_SET))
        plan = plan_controls(job, sets, label_steps=4)
        many = CondensedSet(torch.zeros(9, 3, 8, 8), LABELS.repeat(2)[:9])
        sets |= {"equal_steps": base, "equal_bytes": many}
        given = Ingredients("dc", sets, True, kinds, plan, Recipes.of(job), ctx)
        return ctx, sets, {arm.name: arm for arm in plan_arms(given)}

    def test_random_images_with_labels_are_those_of_the_random_arm(self, tmp_path):
        ctx, _, arms = self.arms(tmp_path)
        assert list(arms) == ["random", "base", "assigned", "privileged", *ALL, *ANY_SET]
        for repeat in (0, 1):
            plain = arms["random"].training_set(repeat)
            found = arms["random_privileged"].training_set(repeat)
            assert torch.equal(found.images, plain.images)
            assert torch.equal(found.labels, plain.labels)
            kinds = [Feature(FeatureOptions(teacher_epochs=1, teacher_min_steps=0))]
            again = with_assigned_labels(random_images(repeat, ctx), kinds, ctx)
            assert torch.equal(found.privileged[0].values, again.privileged[0].values)
        assert not torch.equal(plain.images, arms["random"].training_set(0).images)

    @pytest.mark.parametrize(
        ("begun", "assigned", "random"),
        [
            ("teacher", "dc + assigned feature labels", "random images + feature labels"),
            (
                "noise",
                "dc + starting feature labels (noise)",
                "random images + feature labels (noise)",
            ),
        ],
    )
    def test_labels_that_begin_as_noise_are_called_so(self, tmp_path, begun, assigned, random):
        kinds = [Feature(FeatureOptions(label_init=begun, learning="gradient_matching"))]
        shipped = labelled(torch.ones(6, 1, 1, 1))
        sets = dict.fromkeys(("base", "enriched", "start", "assigned"), shipped)
        plan, recipes = ControlPlan(("random_privileged",), 2, 4, ()), Recipes.of(spec())
        ctx = context(blobs(), tmp_path)
        given = Ingredients("dc", sets, True, kinds, plan, recipes, ctx)
        titles = {arm.name: arm.title for arm in plan_arms(given)}
        assert titles["assigned"] == assigned
        assert titles["random_privileged"] == random

    def test_random_images_weigh_what_they_would_be_stored_in(self, tmp_path):
        """No weights of the base set's images, and labels for whole images and not for tiles."""
        ctx = context(blobs(), tmp_path)
        kinds = [Feature(FeatureOptions(teacher_epochs=1, teacher_min_steps=0))]
        base = CondensedSet(torch.zeros(6, 3, 8, 8), LABELS, partition=2)
        shipped = replace(
            base, privileged=with_assigned_labels(base.as_seen(), kinds, ctx).privileged
        )
        weighted = replace(base, partition=1, weights=torch.ones(6))
        plan = ControlPlan(("random_privileged",), 2, 0, ())
        sets = {"base": weighted, "enriched": shipped}
        given = Ingredients("idm", sets, False, kinds, plan, Recipes.of(spec()), ctx)
        for arm in plan_arms(given):
            if arm.name in ("random", "random_privileged"):
                assert arm.train_bytes == stored_bytes(arm.training_set(0)).total

    def test_all_images_are_the_source_as_students_are_tested_on_it(self, tmp_path):
        ctx, _, arms = self.arms(tmp_path)
        found = arms["full"].training_set(0)
        assert torch.equal(found.images, normalise(ctx.train.images, ctx.facts))
        assert torch.equal(found.labels, ctx.train.labels)

    def test_the_other_view_differs_in_the_augmentation_alone(self, tmp_path):
        _, _, arms = self.arms(tmp_path)
        own = arms["privileged"].recipe
        for name, twin in (("other_view", "privileged"), ("random_other_view", "random")):
            assert arms[name].recipe == replace(own, augmentation="dsa")
            found, plain = (arms[key].training_set(1) for key in (name, twin))
            assert torch.equal(found.images, plain.images)
            assert len(found.privileged) == len(plain.privileged)

    def test_bytes_are_those_that_each_would_be_stored_in(self, tmp_path):
        _, sets, arms = self.arms(tmp_path)
        plain, full = stored_bytes(sets["base"]).total, stored_bytes(sets["enriched"]).total
        sizes = {name: arm.train_bytes for name, arm in arms.items()}
        assert sizes["random"] == sizes["base"] == sizes["equal_steps"] == plain
        assert sizes["privileged"] == sizes["permuted"] == sizes["noise"] == full
        assert (
            sizes["random_privileged"]
            == stored_bytes(arms["random_privileged"].training_set(0)).total
        )
        assert sizes["equal_bytes"] == 9 * (plain // 6)
        assert sizes["full"] == 60 * (plain // 6)
        assert {arm.num_images for arm in arms.values()} == {6, 9, 60}
        assert all(len(arm.training_set(0)) == arm.num_images for arm in arms.values())
