"""Scores against predictions whose worth is known by hand."""

import pytest
import torch

from dcpi_core.evaluation.arms import ArmPlan
from dcpi_core.evaluation.measure import CONFUSION_CLASSES, Measurement, measurement_of
from dcpi_core.evaluation.predictions import confusion_matrix, expected_calibration_error
from dcpi_core.evaluation.reporting import build_arm
from dcpi_core.training import Recipe

LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])


def logits_of(probabilities):
    return torch.tensor(probabilities, dtype=torch.float64).log()


class TestConfusion:
    def test_rows_are_true_and_columns_predicted(self):
        found = confusion_matrix(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 2]), 3)
        assert found.tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]

    def test_a_class_that_is_never_seen_keeps_its_row(self):
        assert confusion_matrix(torch.tensor([0]), torch.tensor([0]), 3).shape == (3, 3)


class TestCalibration:
    def test_a_perfect_and_certain_predictor(self):
        certain = torch.eye(3)[LABELS]
        assert expected_calibration_error(certain, LABELS) == 0

    def test_a_constant_predictor_is_off_by_confidence_minus_accuracy(self):
        """Always class 0 at 0.9, right 4 times in 10: one bin, |0.4 - 0.9|."""
        constant = torch.tensor([0.9, 0.05, 0.05]).expand(10, 3)
        assert expected_calibration_error(constant, LABELS) == pytest.approx(0.5)

    def test_an_honest_constant_predictor(self):
        honest = torch.tensor([0.4, 0.3, 0.3]).expand(10, 3)
        assert expected_calibration_error(honest, LABELS) == pytest.approx(0, abs=1e-7)

    def test_bins_do_not_forgive_each_other(self):
        """Too sure on one half, not sure enough on the other: errors add, 0.5 * 0.3 + 0.5 * 0.4."""
        probabilities = torch.tensor([[0.3, 0.7], [0.3, 0.7], [0.4, 0.6], [0.4, 0.6]])
        labels = torch.tensor([1, 1, 0, 0])
        assert expected_calibration_error(probabilities, labels) == pytest.approx(0.45)

    def test_within_a_bin_they_do(self):
        """0.61 wrong, 0.65 right: one bin of fifteen (0.6 to 0.667) holds both."""
        probabilities = torch.tensor([[0.61, 0.39], [0.65, 0.35]])
        error = expected_calibration_error(probabilities, torch.tensor([1, 0]))
        assert error == pytest.approx(abs(0.5 - 0.63))

    def test_a_bin_holds_its_upper_edge(self):
        """Two bins: 0.5 falls into the lower one, 0.51 into the upper one."""
        probabilities = torch.tensor([[0.5, 0.5], [0.51, 0.49]], dtype=torch.float64)
        error = expected_calibration_error(probabilities, torch.tensor([0, 1]), bins=2)
        assert error == pytest.approx((0.5 + 0.51) / 2)


class TestMeasurement:
    def test_a_perfect_student(self):
        found = measurement_of(100 * torch.eye(3)[LABELS], LABELS)
        assert found.accuracy == 1
        assert found.per_class == (1, 1, 1)
        assert found.confusion == ((4, 0, 0), (0, 3, 0), (0, 0, 3))
        assert found.calibration_error == pytest.approx(0, abs=1e-9)

    def test_a_constant_student_knows_one_class(self):
        found = measurement_of(logits_of([[0.8, 0.1, 0.1]]).expand(10, 3), LABELS)
        assert found.accuracy == pytest.approx(0.4)
        assert found.per_class == (1, 0, 0)
        assert found.confusion == ((4, 0, 0), (3, 0, 0), (3, 0, 0))
        assert found.calibration_error == pytest.approx(0.4)

    def test_a_linear_student(self):
        """Class of x is the sign of x: logits (-x, x), so p(1) = sigmoid(2 x)."""
        x = torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=torch.float64)
        found = measurement_of(torch.stack([-x, x], 1), torch.tensor([0, 1, 1, 1]))
        sure, surer = torch.sigmoid(2 * x[2]), torch.sigmoid(2 * x[3])
        assert found.accuracy == 0.75
        assert found.per_class == (1, pytest.approx(2 / 3))
        assert found.confusion == ((1, 0), (1, 2))
        # One right and one wrong in the bin of 0.88, two right in that of 0.98.
        wanted = 0.5 * abs(0.5 - sure) + 0.5 * abs(1 - surer)
        assert found.calibration_error == pytest.approx(float(wanted))

    def test_permuted_labels_are_all_wrong(self):
        found = measurement_of(100 * torch.eye(3)[(LABELS + 1) % 3], LABELS)
        assert found.accuracy == 0
        assert found.confusion == ((0, 4, 0), (0, 0, 3), (3, 0, 0))

    def test_many_classes_have_no_confusion_matrix(self):
        for count in (CONFUSION_CLASSES, CONFUSION_CLASSES + 1):
            found = measurement_of(torch.eye(count), torch.arange(count))
            assert (found.confusion is None) == (count > CONFUSION_CLASSES)


def test_an_arm_sums_confusion_and_finds_the_worst_class():
    first = Measurement(0.5, (0.9, 0.1), 0.2, ((9, 1), (9, 1)))
    second = Measurement(0.7, (0.4, 1.0), 0.1, ((4, 6), (0, 10)))
    plan = build_plan("base")
    found = build_arm(plan, "ConvNetD2", [first, second])
    assert found.runs == (0.5, 0.7)
    assert found.per_class == (pytest.approx(0.65), pytest.approx(0.55))
    assert found.worst_class == 1  # on average, though class 0 is worse in the second run
    assert found.worst_class_runs == (0.1, 0.4)
    assert found.calibration_errors == (0.2, 0.1)
    assert found.confusion == ((13, 7), (9, 11))
    assert (found.num_images, found.train_bytes) == (20, 300)


def build_plan(name):
    return ArmPlan(name, name, 20, 300, lambda repeat: None, Recipe())
