"""Students side by side: none twice, none idle, and each with the bits it has alone."""

import pytest
import torch

from dcpi_core.compute import Runtime
from dcpi_core.condensed import CondensedSet
from dcpi_core.evaluation.arms import ArmPlan
from dcpi_core.evaluation.measure import measure
from dcpi_core.evaluation.remembered import Measurements
from dcpi_core.evaluation.students import Classroom, Student
from dcpi_core.training import Recipe


@pytest.fixture
def room(source, tmp_path):
    return Classroom(source, Runtime.choose("cpu", threads=2), Measurements(tmp_path))


@pytest.fixture(scope="module")
def students(source):
    """Five, on more images than pass a network at once."""
    draw = torch.Generator().manual_seed(0)
    condensed = CondensedSet(torch.randn(40, 3, 8, 8, generator=draw), torch.arange(40) % 3)
    arm = ArmPlan("base", "some images", 40, 0, lambda _: condensed, Recipe(epochs=2))
    return [Student(arm, "ConvNetD2", repeat, seed=repeat) for repeat in range(5)]


def repeats(group):
    return [(each.student.repeat, each.before) for each in group]


def accuracies(group):
    return [each.measurement.accuracy for each in group]


def test_a_student_for_each_thread_then_the_next(room, students):
    assert repeats(room.measure_first(students)) == [(0, False), (1, False)]
    assert repeats(room.measure_first(students[4:])) == [(4, False)]


def test_known_students_take_nobodys_place(room, students):
    room.measure_first([students[0]])
    room.measure_first([students[2]])
    found = room.measure_first(students)
    assert repeats(found) == [(0, True), (1, False), (2, True), (3, False)]
    assert repeats(room.measure_first(students)) == [
        *((repeat, True) for repeat in range(4)),
        (4, False),
    ]


def test_measurements_come_back_in_their_own_place(room, students, source):
    room.measure_first([students[1]])
    found = room.measure_first(students[:3])
    runtime = Runtime.choose("cpu", threads=1)
    alone = [
        measure(each.trial, each.arm.training_set(0), source, runtime) for each in students[:3]
    ]
    assert accuracies(found) == [each.accuracy for each in alone]


def test_of_a_known_student_no_training_set_is_kept(room, students):
    room.measure_first(students[:2])
    group = room._first(students)
    assert [each.known is not None for each in group] == [True, True, False, False]
    assert [each.condensed is None for each in group] == [True, True, False, False]


def test_all_images_are_made_once_for_all_who_train_on_them_and_not_for_others(room):
    made, many = [], CondensedSet(torch.zeros(40, 3, 8, 8), torch.arange(40) % 3)

    def training_set(repeat):
        made.append(repeat)
        return many

    arm = ArmPlan("full", "all", 40, 0, training_set, Recipe(epochs=0), all_images=True)
    three = [Student(arm, "ConvNetD2", repeat, seed=repeat) for repeat in range(3)]
    assert repeats(room.measure_first(three)) == [(0, False), (1, False)]
    assert made == [0]
    assert repeats(room.measure_first(three[:2])) == [(0, True), (1, True)]
    assert made == [0]


def test_company_changes_no_bit(source, students, tmp_path):
    runtime = Runtime.choose("cpu", threads=2)
    together = Classroom(source, runtime, Measurements(tmp_path / "together"))
    alone = Classroom(source, runtime, Measurements(tmp_path / "alone"))
    found = together.measure_first(students[:2])
    again = [alone.measure_first([each])[0] for each in students[:2]]
    errors = [[each.measurement.calibration_error for each in group] for group in (found, again)]
    assert errors[0] == errors[1]


def test_each_step_is_told(source, students, tmp_path):
    steps = []
    runtime = Runtime.choose("cpu", threads=1)
    room = Classroom(
        source, runtime, Measurements(tmp_path), on_step=lambda *now: steps.append(now)
    )
    room.measure_first(students)
    assert len(steps) > 1
    assert steps == [(number, len(steps)) for number in range(1, len(steps) + 1)]
