"""A student that is tested along its training is the student that is not."""

from dataclasses import replace

import pytest
import torch

from dcpi_core.compute import Runtime
from dcpi_core.condensed import CondensedSet
from dcpi_core.evaluation.measure import Measurement, Trial, measure
from dcpi_core.training import Recipe

RUNTIME = Runtime.choose("cpu", 1)
TRIAL = Trial("ConvNetD2BN", Recipe(epochs=4), seed=0)  # batch norm tells tests from training


@pytest.fixture(scope="module")
def condensed():
    images = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return CondensedSet(images, torch.arange(3).repeat_interleave(2))


def untimed(found: Measurement) -> Measurement:
    return replace(found, seconds=None, best_accuracy=None, best_epoch=None)


@pytest.fixture(scope="module")
def plain(source, condensed):
    return measure(TRIAL, condensed, source, RUNTIME)


def test_tests_along_the_way_change_nothing(source, condensed, plain):
    tested = measure(TRIAL, condensed, source, RUNTIME, test_every=1)
    assert untimed(tested) == untimed(plain)
    assert tested.best_accuracy >= tested.accuracy
    assert (plain.best_accuracy, plain.best_epoch) == (None, None)
    assert plain.seconds > 0


def test_the_best_is_the_highest_of_the_epochs_asked_for(source, condensed, monkeypatch):
    """Five passes, tested after the second, the fourth and the last."""
    from dcpi_core.evaluation import measure as module

    seen, real = [], module.evaluate
    scores = iter([0.3, 0.7, 0.6])

    def scored(*given):
        found = replace(real(*given), accuracy=next(scores))
        seen.append(found.accuracy)
        return found

    monkeypatch.setattr(module, "evaluate", scored)
    found = measure(TRIAL, condensed, source, RUNTIME, test_every=2)
    assert seen == [0.3, 0.7, 0.6]
    assert (found.accuracy, found.best_accuracy, found.best_epoch) == (0.6, 0.7, 4)


def test_tests_along_the_way_are_not_in_the_seconds_of_the_training(source, condensed, monkeypatch):
    """By a clock that stands still but for the tests, which take a hundred seconds each."""
    from dcpi_core.evaluation import measure as module

    now, real = [0.0], module.evaluate

    def slow(*given):
        now[0] += 100.0
        return real(*given)

    monkeypatch.setattr(module, "evaluate", slow)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    found = measure(TRIAL, condensed, source, RUNTIME, test_every=2)
    assert now[0] == 300.0
    assert found.seconds == 0.0


def test_a_student_with_nothing_to_learn_is_best_at_once(source, condensed):
    """Every test of one that cannot change gives the same, and the first counts."""
    recipe = Recipe(epochs=3, learning_rate=0.0)
    trial = Trial("MLP", recipe, seed=0)
    found = measure(trial, condensed, source, RUNTIME, test_every=1)
    assert (found.best_accuracy, found.best_epoch) == (found.accuracy, 1)


def test_measurements_of_before_there_were_times_are_read():
    old = {"accuracy": 0.5, "per_class": [0.5], "calibration_error": 0.1, "confusion": None}
    assert Measurement.restore(old) == Measurement(0.5, (0.5,), 0.1, None)
