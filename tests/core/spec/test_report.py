import pytest

from dcpi_core.spec.report import Arm, Difference, bare_arm, shipped_arm


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


@pytest.mark.parametrize(
    ("names", "shipped", "bare"),
    [
        (("random", "base"), "base", "base"),
        (("random", "base", "privileged", "full"), "privileged", "base"),
        (("base", "tuned", "assigned", "privileged"), "privileged", "tuned"),
        (("random",), None, None),
    ],
)
def test_which_arm_is_what_is_shipped(names, shipped, bare):
    arms = [arm(name, 0.1) for name in names]
    others = [each.model_copy(update={"network": "MLP"}) for each in arms]
    for network in (None, "ConvNetD3", "MLP"):
        found = [of(arms + others, network) for of in (shipped_arm, bare_arm)]
        assert [each and each.name for each in found] == [shipped, bare]
        assert all(each.network == (network or "ConvNetD3") for each in found if each)
    assert shipped_arm(arms, "LeNet") is None
