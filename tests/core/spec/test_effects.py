"""Options that would do nothing are refused; those that do something, or say nothing, are not."""

import pytest

from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.effects import ACTS_WITH
from dcpi_core.spec.errors import InvalidInput
from dcpi_core.spec.job import JobRequest
from dcpi_core.spec.resolve import resolve

MATCHED = {"learning": "gradient_matching"}


def resolved(pi_type="feature", evaluation=None, **options):
    request = {
        "dataset": "digits",
        "images_per_class": 1,
        "base_method": "dc",
        "pi_type": pi_type,
        "options": {"pi": {pi_type: options}, "evaluation": evaluation or {}},
    }
    return resolve(JobRequest.model_validate(request))


@pytest.mark.parametrize(
    ("pi_type", "options", "named", "needed"),
    [
        ("feature", {"iterations": 5}, "iterations", "gradient_matching"),
        ("feature", {"label_learning_rate": 5.0} | MATCHED, "label_learning_rate", "fixed"),
        ("feature", {"unrolled_updates": 5} | MATCHED, "unrolled_updates", "unrolled"),
        ("feature", {"tuned_image_momentum": 0.0} | MATCHED, "tuned_image_momentum", "joint"),
        ("soft", {"unrolled_rate": 0.1}, "unrolled_rate", "unrolled"),
        (
            "attention_channel",
            {"label_task_weight": 5.0, "learned_form": "pooled"} | MATCHED,
            "label_task_weight",
            "map",
        ),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(pi_type, options, named, needed):
    with pytest.raises(InvalidInput, match=needed) as caught:
        resolved(pi_type, **options)
    (problem,) = caught.value.problems
    assert (problem.pointer, problem.code) == (f"/options/pi/{pi_type}/{named}", "no_effect")


@pytest.mark.parametrize(
    "options",
    [
        {"iterations": 5} | MATCHED,
        {"label_learning_rate": 5.0, "label_step": "fixed"} | MATCHED,
        {"tuned_image_momentum": 0.0, "schedule": "alternating"} | MATCHED,
        {"unrolled_updates": 5, "learning": "unrolled"},
        {"unrolled_updates": 5, "preset": "unrolled"},
        {"label_task_weight": 5.0} | MATCHED,
    ],
)
def test_an_option_that_does_something_is_taken(options):
    found = resolved(**options).privileged[0].options
    assert options.items() - {("preset", "unrolled")} <= found.items()


def test_all_options_of_a_resolved_spec_can_be_given_back():
    spec = resolved()
    assert resolved(**spec.privileged[0].options) == spec


def test_what_is_named_exists():
    types = load_catalog().privileged_types.values()
    known = {name for entry in types for name in entry.options_schema.get("properties", {})}
    others = {other for needs in ACTS_WITH.values() for other, _ in needs}
    assert {*ACTS_WITH, *others} <= known


def test_labels_that_are_none_have_no_options():
    with pytest.raises(InvalidInput, match="'foo' was unexpected"):
        resolved("none", foo=1)


def test_epochs_on_all_images_are_those_of_their_control():
    with pytest.raises(InvalidInput, match="control 'full'"):
        resolved(evaluation={"full_epochs": 3})
    found = resolved(evaluation={"full_epochs": 3, "controls": ["full"]})
    assert found.evaluation.full_epochs == 3
