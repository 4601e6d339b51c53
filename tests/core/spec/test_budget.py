from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcpi_core.spec.budget import check_images_per_class, images_per_class_of, parse_fraction
from dcpi_core.spec.dataset import DatasetFacts, License
from dcpi_core.spec.errors import BudgetError


def facts(*per_class: int) -> DatasetFacts:
    return DatasetFacts(
        name="toy",
        title="toy",
        classes=tuple(str(i) for i in range(len(per_class))),
        train_per_class=per_class,
        num_test=1,
        channels=1,
        height=8,
        width=8,
        mean=(0.0,),
        std=(1.0,),
        license=License(name="none"),
    )


@pytest.mark.parametrize(
    ("given_", "ratio"),
    [
        (0.002, Fraction(1, 500)),
        ("0.002", Fraction(1, 500)),
        ("0.2%", Fraction(1, 500)),
        (" 0.2 % ", Fraction(1, 500)),
        ("1/500", Fraction(1, 500)),
        (1, Fraction(1)),
        ("100%", Fraction(1)),
    ],
)
def test_fractions_are_ratios_unless_they_say_percent(given_, ratio):
    assert parse_fraction(given_) == ratio


@pytest.mark.parametrize(
    "bad",
    [
        0,
        -0.1,
        1.0001,
        "0%",
        "101%",
        "",
        "%",
        "abc",
        "nan",
        "1/0",
        "inf",
        "1e-300000000",
        "\u0660.\u0662",
        "0." + "0" * 99 + "1",
    ],
)
def test_other_fractions_are_refused_by_name(bad):
    with pytest.raises(BudgetError) as caught:
        parse_fraction(bad)
    assert caught.value.problems[0].pointer == "/fraction"
    assert str(bad) in caught.value.detail


@given(images=st.integers(1, 5000), classes=st.integers(2, 200), size=st.integers(1, 5000))
def test_exact_fractions_give_the_exact_number(images, classes, size):
    source = facts(*[size] * classes)
    if images > size:
        with pytest.raises(BudgetError):
            check_images_per_class(images, source)
        return
    fraction = str(Fraction(images, size))
    assert images_per_class_of(fraction, source) == images


def test_less_than_one_image_per_class_says_what_is_possible():
    with pytest.raises(BudgetError, match=r"smallest possible fraction is 0\.01"):
        images_per_class_of(0.009, facts(100, 100))


@given(sizes=st.lists(st.integers(1, 5000), min_size=2, max_size=50))
def test_the_fraction_that_is_named_is_accepted(sizes):
    source = facts(*sizes)
    with pytest.raises(BudgetError) as caught:
        images_per_class_of("1e-9", source)
    named = caught.value.detail.rpartition(" ")[2]
    assert images_per_class_of(named, source) == images_per_class_of(float(named), source) == 1


def test_the_smallest_class_limits_the_budget():
    with pytest.raises(BudgetError, match="allows 1 to 3"):
        images_per_class_of(0.5, facts(3, 100))
