"""Options that act only beside certain others: what would do nothing is refused, not ignored."""

from collections.abc import Mapping
from typing import Any

from dcpi_core.spec.errors import FieldProblem, InvalidInput

_MATCHED = ("learning", ("gradient_matching",))
_UNROLLED = ("learning", ("unrolled",))
_TUNED = ("schedule", ("alternating", "joint"))
_MAPS = ("learned_form", ("map",))

ACTS_WITH: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "iterations": (_MATCHED,),
    "outer_loops": (_MATCHED,),
    "inner_epochs": (_MATCHED,),
    "network_learning_rate": (_MATCHED,),
    "real_batch": (_MATCHED,),
    "label_networks": (_MATCHED,),
    "label_task_weight": (_MATCHED, _MAPS),
    "task_term": (_MATCHED, _MAPS),
    "label_step": (_MATCHED,),
    "label_momentum": (_MATCHED,),
    "label_learning_rate": (_MATCHED, ("label_step", ("fixed",))),
    "tuned_image_learning_rate": (_TUNED,),
    "tuned_image_momentum": (_TUNED,),
    "unrolled_updates": (_UNROLLED,),
    "unrolled_window": (_UNROLLED,),
    "unrolled_students": (_UNROLLED,),
    "unrolled_real_images": (_UNROLLED,),
    "unrolled_rate": (_UNROLLED,),
}
"""Which other options an option needs, and what they must be. It counts for components that have
both: the ``iterations`` of a base method, which has no ``learning``, need nothing."""


def check_effects(
    given: Mapping[str, Any], before: Mapping[str, Any], resolved: Mapping[str, Any], pointer: str
) -> None:
    """Refuse options that were given, change something, and would change nothing of the result.

    Args:
        given: options that the user wrote.
        before: defaults and presets, on which they were laid.
        resolved: both together.
        pointer: where they were written.

    Raises:
        InvalidInput: names each of them, and what it acts with.
    """
    problems = [
        FieldProblem(f"{pointer}/{name}", "no_effect", f"{name} acts only with {missing}")
        for name, value in given.items()
        if before.get(name) != value and (missing := _missing(name, resolved))
    ]
    if problems:
        raise InvalidInput("; ".join(problem.message for problem in problems), problems)


def _missing(name: str, resolved: Mapping[str, Any]) -> str | None:
    """The first thing that an option needs and does not have."""
    for other, wanted in ACTS_WITH.get(name, ()):
        if other in resolved and resolved[other] not in wanted:
            allowed = " or ".join(map(repr, wanted))
            return f"{other} {allowed}, and {other} is {resolved[other]!r} here"
    return None
