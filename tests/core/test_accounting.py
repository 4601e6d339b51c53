"""Time is booked where it belongs, and what nobody measured is not guessed."""

import time

import pytest

from dcpi_core.accounting import Accounts, Timing, cost_of, full_epoch_seconds
from dcpi_core.compute import Runtime
from dcpi_core.memory import Memory
from dcpi_core.real_training import TrainingPlan
from dcpi_core.spec.progress import Phase
from tests.core import problems

IMAGES = 600  # three steps of 256 in an epoch


def timing(epochs, steps, seconds):
    return Timing(TrainingPlan("ConvNetD2", epochs), steps, seconds)


def test_an_epoch_is_the_mean_over_all_trainings():
    assert full_epoch_seconds([timing(2, 6, 3.0), timing(4, 12, 3.0)], IMAGES) == 1.0


def test_a_training_found_ready_or_half_done_was_not_measured():
    assert full_epoch_seconds([timing(2, 6, 3.0), timing(2, 0, 0.01)], IMAGES) is None
    assert full_epoch_seconds([timing(2, 5, 2.0)], IMAGES) is None
    assert full_epoch_seconds([], IMAGES) is None


def test_only_what_makes_the_set_counts_as_making_it():
    seconds = {"prepare": 1.0, "base": 6.0, "privileged": 3.0, "controls": 50.0, "evaluate": 70.0}
    memory = Memory(seconds=seconds, full_epoch_seconds=0.5, peaks={"host": 7})
    cost = cost_of(memory)
    assert cost.full_epochs == pytest.approx(20)
    assert cost.peak_memory_bytes == 7
    assert cost_of(Memory(seconds=seconds)).full_epochs is None


def arm(name, *seconds, network="ConvNetD2"):
    runs = (0.5,) * len(seconds)
    return problems.arm(name, *runs, network=network).model_copy(update={"seconds": seconds})


class TestBreakEven:
    """A set that took ten seconds to make, and students that need one second instead of three."""

    memory = Memory(seconds={"base": 6.0, "privileged": 4.0})
    arms = (arm("base", 9.0, 9.0), arm("privileged", 0.5, 1.5), arm("full", 2.0, 4.0))

    def test_it_is_the_time_of_making_over_the_time_saved(self):
        assert cost_of(self.memory, self.arms).break_even_students == pytest.approx(5)

    def test_of_the_first_student_alone(self):
        other = (arm("privileged", 0.0, network="MLP"), arm("full", 100.0, network="MLP"))
        assert cost_of(self.memory, self.arms + other).break_even_students == pytest.approx(5)

    def test_what_ready_networks_took_is_not_known(self):
        found = Memory(seconds=self.memory.seconds, networks_found=1)
        assert cost_of(found, self.arms).break_even_students is None

    def test_what_is_no_slower_or_was_not_measured_is_never_made_up_for(self):
        slow = (arm("base", 3.0), arm("full", 3.0))
        assert cost_of(self.memory, slow).break_even_students is None
        assert cost_of(self.memory, self.arms[:2]).break_even_students is None
        assert cost_of(self.memory, (arm("base", 3.0),)).break_even_students is None
        assert cost_of(self.memory).break_even_students is None


def test_seconds_go_to_the_phase_they_were_spent_in():
    memory = Memory(phase=Phase.BASE, seconds={"base": 10.0}, peaks={"host": 1})
    accounts = Accounts(memory, Runtime.choose("cpu"))
    time.sleep(1.0)
    accounts.book()
    memory.phase = Phase.EVALUATE
    accounts.book()
    assert 11.0 <= memory.seconds["base"] < 15.0
    assert memory.seconds["evaluate"] < 0.9
    assert memory.device_seconds == {}
    assert memory.peaks["host"] > 2**20  # bytes, of a process that has loaded torch
