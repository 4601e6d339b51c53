"""When two means count as the same."""

from dcpi_core.spec.verification import tolerance_of, verdict_of


def test_the_wider_runs_set_the_tolerance():
    narrow, wide = (0.40, 0.42), (0.35, 0.45)  # sample deviations 0.0141 and 0.0707
    assert abs(tolerance_of(narrow, wide) - 3 * 0.1 / 2**0.5) < 1e-12
    assert tolerance_of(narrow, wide) == tolerance_of(wide, narrow)


def test_runs_that_agree_by_chance_are_not_taken_for_certainty():
    assert tolerance_of((0.4,), (0.5,)) == 0.03
    assert tolerance_of((0.4, 0.4), (0.4, 0.4)) == 0.03


def test_a_mean_disagrees_on_either_side():
    runs = (0.40, 0.42)
    assert verdict_of(runs, (0.45,)) == "reproduced"
    assert verdict_of(runs, (0.46,)) == "not reproduced"
    assert verdict_of(runs, (0.36,)) == "not reproduced"
