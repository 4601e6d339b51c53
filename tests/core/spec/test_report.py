import pytest

from dcpi_core.spec.report import Arm, Difference


def arm(name, *runs):
    return Arm(
        name=name,
        title=name,
        network="ConvNetD3",
        num_images=10,
        train_bytes=1,
        runs=runs,
        per_class=(0.5, 0.5),
    )


def test_mean_and_sample_standard_deviation():
    found = arm("base", 0.1, 0.2, 0.3)
    assert found.mean == pytest.approx(0.2)
    assert found.std == pytest.approx(0.1)  # n - 1, not n
    assert arm("base", 0.4).std == 0.0


def test_differences_are_paired():
    """Runs that move together have a small error however far they spread."""
    difference = Difference.between(arm("privileged", 0.15, 0.25, 0.35), arm("base", 0.1, 0.2, 0.3))
    assert difference.mean == pytest.approx(0.05)
    assert difference.standard_error == pytest.approx(0.0, abs=1e-12)
    other = Difference.between(arm("privileged", 0.3, 0.2), arm("base", 0.1, 0.1))
    assert other.standard_error == pytest.approx(0.05)


def test_one_run_has_no_error():
    assert Difference.between(arm("base", 0.2), arm("random", 0.1)).standard_error is None
