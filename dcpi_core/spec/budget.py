"""Budget arithmetic: fractions of the training set, images per class. Integers, no surprises."""

import re
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction

from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.errors import BudgetError, FieldProblem

# Bounded, since exact arithmetic on "1e-300000000" would never end.
_NUMBER = re.compile(
    r"(\d{1,20}/\d{1,20}|-?\d{0,20}\.?\d{1,40}(?:[eE][+-]?\d{1,3})?)\s*(%)?", re.ASCII
)


def parse_fraction(value: float | str) -> Fraction:
    """Read a ratio in (0, 1]; a string with a percent sign such as ``"0.2%"`` is a percentage.

    Raises:
        BudgetError: not a number, or outside (0, 1].
    """
    try:
        ratio = _to_ratio(value)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise _refuse(
            f"fraction {value!r} is not a number; give a ratio such as 0.002 or a percentage "
            'such as "0.2%"'
        ) from None
    if not 0 < ratio <= 1:
        raise _refuse(
            f"fraction {value!r} is outside (0, 1]; it is the ratio of images kept, "
            'so 0.002 or "0.2%" keeps 2 of 1000'
        )
    return ratio


def images_per_class_of(fraction: float | str, facts: DatasetFacts) -> int:
    """The images per class that come nearest to ``fraction`` of the training set.

    Raises:
        BudgetError: the fraction gives less than one image per class, or more images than the
            smallest class has.
    """
    exact = parse_fraction(fraction) * facts.num_train / facts.num_classes
    if exact < 1:
        raise _refuse(
            f"fraction {fraction} of {facts.num_train} training images is "
            f"{float(exact * facts.num_classes):.3g} images, less than one for each of "
            f"{facts.num_classes} classes; the smallest possible fraction is {_smallest(facts)}"
        )
    return check_images_per_class(round(exact), facts, pointer="/fraction")


def check_images_per_class(
    count: int, facts: DatasetFacts, pointer: str = "/images_per_class"
) -> int:
    """Return ``count`` if every class can supply that many images.

    Raises:
        BudgetError: ``count`` is below 1 or above the size of the smallest class.
    """
    smallest = min(facts.train_per_class)
    if not 1 <= count <= smallest:
        raise _refuse(
            f"{count} images per class is impossible: {facts.name!r} allows 1 to {smallest} "
            f"(its smallest class has {smallest} training images)",
            pointer,
        )
    return count


def _smallest(facts: DatasetFacts) -> Decimal:
    """The fraction of one image per class, rounded up: one that is rounded down is refused."""
    return Context(prec=6, rounding=ROUND_CEILING).divide(
        Decimal(facts.num_classes), Decimal(facts.num_train)
    )


def _to_ratio(value: float | str) -> Fraction:
    if not isinstance(value, str):
        return Fraction(repr(float(value)))
    found = _NUMBER.fullmatch(value.strip())
    if found is None:
        raise ValueError(value)
    number, percent = found.groups()
    return Fraction(number) / (100 if percent else 1)


def _refuse(message: str, pointer: str = "/fraction") -> BudgetError:
    return BudgetError(message, [FieldProblem(pointer, BudgetError.code, message)])
