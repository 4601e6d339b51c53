"""Label statistics on labels whose statistics are known in closed form."""

import math

import pytest
import torch

from dcpi_core.evaluation import label_statistics as subject
from dcpi_core.evaluation.controls import random_images, with_assigned_labels
from dcpi_core.evaluation.label_statistics import (
    RANK_RATIO,
    Reference,
    centroid_transfer,
    describe_labels,
    effective_rank,
    fisher_ratio,
    job_statistics,
    within_class_distance,
)
from dcpi_core.privileged.base import drift
from dcpi_core.privileged.features.feature import Feature, FeatureOptions
from dcpi_core.privileged.soft import Soft, SoftOptions
from tests.core.problems import blobs, context

CLASSES = torch.arange(4)


class TestEffectiveRank:
    def test_identical_labels_have_none(self):
        assert effective_rank(torch.full((6, 2, 2), 0.1)) == 0

    def test_orthogonal_labels_have_all_but_one(self):
        """n orthonormal labels, centred: n - 1 equal singular values."""
        assert effective_rank(torch.eye(5)) == pytest.approx(4)
        assert effective_rank(3 * torch.eye(5) + 7) == pytest.approx(4)  # neither scale nor shift

    def test_isotropic_labels_fill_their_space(self):
        cross = torch.cat([torch.eye(3), -torch.eye(3)])
        assert effective_rank(cross) == pytest.approx(3)

    def test_a_line_has_one(self):
        assert effective_rank(torch.arange(5.0).outer(torch.ones(3))) == pytest.approx(1)

    def test_unequal_directions(self):
        """Singular values in the ratio 3 : 1: exp of the entropy of (3/4, 1/4)."""
        points = torch.tensor([[3.0, 0], [-3, 0], [0, 1], [0, -1]])
        entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
        assert effective_rank(points) == pytest.approx(math.exp(entropy))


class TestFisherRatio:
    def test_by_hand(self):
        """Means -2 and 2, each label 1 from its own: 4 * 4 between over 4 * 1 within."""
        values = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
        assert fisher_ratio(values, torch.tensor([0, 0, 1, 1])) == pytest.approx(4)

    def test_classes_with_one_mean_cannot_be_told_apart(self):
        values = torch.tensor([[-1.0], [1.0], [-1.0], [1.0]])
        assert fisher_ratio(values, torch.tensor([0, 0, 1, 1])) == pytest.approx(0)

    def test_classes_need_not_be_numbered_from_zero(self):
        values = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
        assert fisher_ratio(values, torch.tensor([3, 3, 7, 7])) == pytest.approx(4)

    def test_one_label_per_class_has_no_scatter_within(self):
        assert fisher_ratio(torch.eye(4), CLASSES) is None

    def test_nor_have_identical_labels(self):
        repeated = torch.full((4, 3), 0.1).cumsum(1)
        assert fisher_ratio(repeated, torch.tensor([0, 0, 1, 1])) is None


class TestWithinClassDistance:
    def test_by_hand(self):
        """Pairs at distance 6, 6, 0 in one class and 8 in the other; every norm is 5."""
        values = torch.tensor([[3.0, 4], [-3.0, 4], [3.0, 4], [3.0, 4], [3.0, -4]])
        found = within_class_distance(values, torch.tensor([0, 0, 0, 1, 1]))
        assert found == pytest.approx((6 + 0 + 6 + 8) / 4 / 5)

    def test_orthogonal_labels(self):
        assert within_class_distance(torch.eye(3), torch.zeros(3)) == pytest.approx(math.sqrt(2))

    def test_identical_labels(self):
        same = torch.ones(4, 2)
        assert within_class_distance(same, torch.tensor([0, 0, 1, 1])) == 0

    def test_one_per_class_has_no_pair(self):
        assert within_class_distance(torch.eye(4), CLASSES) is None


class TestTransfer:
    def test_labels_that_mean_the_same_thing_transfer(self):
        probed = torch.eye(4).repeat(3, 1)
        assert centroid_transfer(torch.eye(4), CLASSES, probed, CLASSES.repeat(3)) == 1

    def test_permuted_labels_do_not(self):
        probed = torch.eye(4).repeat(3, 1)
        assert centroid_transfer(torch.eye(4).roll(1, 0), CLASSES, probed, CLASSES.repeat(3)) == 0

    def test_a_constant_feature_is_chance(self):
        """Every mean is equally near; the first class is taken for all."""
        found = centroid_transfer(torch.ones(4, 2), CLASSES, torch.ones(8, 2), CLASSES.repeat(2))
        assert found == 0.25

    def test_the_mean_of_a_class_counts(self):
        """Means are 0 and 10, and 4.9 belongs to the first, though 6 of the second is nearer."""
        values = torch.tensor([[-4.0], [4.0], [6.0], [14.0]])
        truth = torch.tensor([0])
        labels = torch.tensor([0, 0, 1, 1])
        assert centroid_transfer(values, labels, torch.tensor([[4.9]]), truth) == 1
        assert centroid_transfer(values, labels, torch.tensor([[5.1]]), truth) == 0


def test_drift_is_relative_to_the_start():
    start = torch.full((2, 3), 2.0)
    assert drift(start + 0.5, start) == pytest.approx(0.25)
    assert drift(start, start) == 0
    assert drift(start, torch.zeros(2, 3)) is None


class TestVerdict:
    """Four classes, five images each: the real ones scatter around their class's axis."""

    labels = torch.arange(4).repeat_interleave(5)

    def real(self, seed):
        noise = torch.randn(20, 12, generator=torch.Generator().manual_seed(seed))
        return torch.eye(12)[self.labels] + 0.1 * noise

    def reference(self):
        draws = torch.stack([self.real(seed) for seed in (1, 2)])
        return Reference(draws, self.labels, self.real(3), self.labels)

    def describe(self, values):
        return describe_labels("feature", "shipped", values, self.labels, None, self.reference())

    def test_labels_like_real_ones_are_balanced(self):
        found = self.describe(self.real(4))
        assert found.transfer == found.real_transfer == 1
        assert found.effective_rank > RANK_RATIO * found.real_effective_rank
        assert found.verdict == "balanced"

    def test_one_code_per_class_is_too_discriminative(self):
        found = self.describe(torch.eye(12)[self.labels])
        assert (found.transfer, found.effective_rank) == (1, pytest.approx(3))
        assert found.verdict == "too discriminative"

    def test_noise_is_too_diverse(self):
        noise = torch.randn(20, 12, generator=torch.Generator().manual_seed(5))
        assert self.describe(noise).verdict == "too diverse"

    def test_labels_that_are_all_equal_have_no_verdict(self):
        assert self.describe(torch.ones(20, 12)).verdict is None

    def test_nor_have_labels_without_a_yardstick(self):
        found = describe_labels("feature", "shipped", self.real(1), self.labels)
        assert (found.verdict, found.transfer, found.real_effective_rank) == (None, None, None)

    def test_any_shape_of_label_will_do(self):
        values, reference = self.real(4), self.reference()
        folded = Reference(
            reference.draws.unflatten(2, (3, 2, 2)),
            reference.labels,
            reference.probed.unflatten(1, (3, 2, 2)),
            reference.probed_labels,
        )
        found = describe_labels(
            "feature", "shipped", values.unflatten(1, (3, 2, 2)), self.labels, None, folded
        )
        assert found == self.describe(values)


class TestJobStatistics:
    """On blobs a teacher knows the classes, so its labels must."""

    def statistics(self, tmp_path, kinds, per_class=2, source=None):
        ctx = context(source or blobs(), tmp_path, per_class=per_class)
        labelled = with_assigned_labels(random_images(0, ctx), kinds, ctx)
        return job_statistics(labelled, labelled, kinds, ctx)

    def test_labels_of_a_teacher(self, tmp_path):
        """Those that a type learned are told of twice; a type beside it learned nothing."""
        learned = FeatureOptions(teacher_min_steps=20, learning="distribution_matching")
        kinds = [Feature(learned), Soft(SoftOptions(teacher_min_steps=20))]
        found = self.statistics(tmp_path, kinds)
        stages = [(each.kind, each.stage) for each in found]
        assert stages == [("feature", "assigned"), ("feature", "shipped"), ("soft", "shipped")]
        assert all(each.transfer >= 0.9 <= each.real_transfer for each in found)
        assert [each.drift for each in found] == [None, 0, None]
        assert [each.largest_rank for each in found] == [5, 5, 3]

    def test_hard_labels_in_soft_ones_do_not_tell_the_class_of_real_images(self, tmp_path):
        """There is nothing in these images to know them by."""
        ignorant = {"teacher_epochs": 1, "teacher_min_steps": 0}
        kinds = [Soft(SoftOptions(hard_label_weight=share, **ignorant)) for share in (0.0, 1.0)]
        alone, mixed = self.statistics(tmp_path, kinds, source=blobs(noise=50.0))
        assert mixed.transfer == mixed.real_transfer < 0.7
        assert alone.real_transfer < 0.7

    @pytest.mark.parametrize("learning", ["assigned", "distribution_matching"])
    def test_labels_of_no_teacher_have_no_yardstick(self, tmp_path, learning):
        options = FeatureOptions(label_init="noise", learning=learning, teacher_min_steps=1)
        (found, *_) = self.statistics(tmp_path, [Feature(options)])
        assert (found.transfer, found.verdict) == (None, None)

    def test_of_large_labels_fewer_images_are_probed(self, tmp_path, monkeypatch):
        ctx = context(blobs(), tmp_path)
        assert subject._probed(torch.zeros(1, 128, 4, 4), ctx) == subject.PROBED_IMAGES // 3
        assert subject._probed(torch.zeros(1, 2**17), ctx) == 2**9 // 3
        assert subject._probed(torch.zeros(1, 2**25), ctx) == 1

    def test_nor_where_too_few_images_are_left(self, tmp_path):
        kind = Soft(SoftOptions(teacher_min_steps=1))
        (found,) = self.statistics(tmp_path, [kind], per_class=4, source=blobs(per_class=8))
        assert found.transfer is None

    def test_selected_images_are_no_yardstick_for_themselves(self, tmp_path):
        from dcpi_core.evaluation.label_statistics import _held_out

        ctx = context(blobs(), tmp_path)
        own = ctx.train.of_class(1)[:5]
        held_out = _held_out(1, own, ctx)
        assert sorted([*held_out.tolist(), *own.tolist()]) == ctx.train.of_class(1).tolist()

    def test_nor_are_those_that_tuned_images_began_as(self, tmp_path):
        """Ten of twelve images of a class are chosen: too few others, tuned or not."""
        ctx = context(blobs(per_class=12), tmp_path, per_class=2)
        kind = Soft(SoftOptions(teacher_min_steps=1))
        tuned = with_assigned_labels(random_images(0, ctx), [kind], ctx)
        chosen = torch.cat([ctx.train.of_class(label)[:10] for label in range(3)])
        found = [job_statistics(tuned, tuned, [kind], ctx, own) for own in (None, chosen)]
        assert found[0][0].transfer is not None
        assert found[1][0].transfer is None
