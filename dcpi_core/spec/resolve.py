"""From a request to a spec: every name checked, every default and preset filled in."""

import math
from collections.abc import Mapping
from typing import Any, get_args

from dcpi_core.spec.budget import check_images_per_class, images_per_class_of
from dcpi_core.spec.catalog import Catalog, CatalogEntry, load_catalog
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.effects import check_effects
from dcpi_core.spec.errors import FieldProblem, InvalidInput
from dcpi_core.spec.job import (
    NO_PRIVILEGED,
    Component,
    Control,
    EvaluationSpec,
    JobRequest,
    JobSpec,
)
from dcpi_core.spec.protocols import default_epochs
from dcpi_core.spec.rules import (
    check_balance,
    check_frequencies,
    check_image_size,
    check_layers,
    check_partition,
    check_schedule,
    check_weights,
    tunes_images,
)


def resolve(
    request: JobRequest, facts: DatasetFacts | None = None, catalog: Catalog | None = None
) -> JobSpec:
    """Fill in a request.

    Args:
        request: what is wanted.
        facts: of its dataset; None for a published one, which the catalogue knows by name.
        catalog: what there is; None for the one that is shipped with the package.

    Raises:
        UnknownName: a dataset, method, privileged type or network that does not exist.
        BudgetError: the fraction or images per class cannot be met.
        InvalidInput: an option is unknown or out of range, or two fields contradict each other.
    """
    catalog = catalog or load_catalog()
    facts = facts or catalog.dataset(request.dataset)
    method = catalog.method(request.base_method)
    request = request.model_copy(update={"base_method": method.name})  # whatever its alias
    count = _images_per_class(request, facts)
    network = request.options.network or default_network(facts)
    check_image_size(network, facts, catalog, "/options/network")
    students = _students(request, network)
    privileged = _privileged(request, facts, catalog, count)
    for position, student in enumerate(students):
        pointer = f"/options/evaluation/networks/{position}"
        check_image_size(student, facts, catalog, pointer)
    check_layers((network, *students), privileged, catalog)
    base = _component(method, request.options.base, "/options/base", request, facts, count)
    check_frequencies(base, network, facts, catalog)
    check_partition(base, privileged)
    check_balance(base, privileged)
    check_weights(base, privileged)
    for component in privileged:
        check_schedule(component)
    wanted = request.options.evaluation
    if wanted.full_epochs is not None and "full" not in wanted.controls:
        raise InvalidInput.at(
            "/options/evaluation/full_epochs",
            "full_epochs are those of the control 'full', which controls does not name",
        )
    controls = tuple(name for name in get_args(Control) if name in wanted.controls)
    epochs = wanted.epochs or default_epochs(wanted.protocol)
    evaluation = wanted.model_dump() | {
        "networks": students,
        "epochs": epochs,
        "controls": controls,
    }
    return JobSpec(
        dataset=facts,
        images_per_class=count,
        base_method=base,
        privileged=privileged,
        network=network,
        evaluation=EvaluationSpec(**evaluation),
        seed=request.seed,
    )


def _students(request: JobRequest, network: str) -> tuple[str, ...]:
    named = request.options.evaluation.networks
    for position, student in enumerate(named):
        if student in named[:position]:
            raise InvalidInput.at(
                f"/options/evaluation/networks/{position}",
                f"{student} is named twice; for more students of a network set repeats",
            )
    return named or (network,)


def default_network(facts: DatasetFacts) -> str:
    """ConvNet of the depth the literature uses for this image size.

    Three blocks for 28 and 32 pixels, one more for each doubling, so that the last feature map is
    about 4 x 4; never fewer than two.
    """
    return f"ConvNetD{convnet_depth(facts.height, facts.width)}"


def convnet_depth(height: int, width: int) -> int:
    """Depth of the ConvNet for images of this size, 2 to 6."""
    return min(6, max(2, round(math.log2(min(height, width))) - 2))


def _images_per_class(request: JobRequest, facts: DatasetFacts) -> int:
    given = (request.fraction is not None, request.images_per_class is not None)
    if given == (True, True) or given == (False, False):
        message = "give exactly one of fraction and images_per_class"
        raise InvalidInput(
            message,
            [
                FieldProblem("/fraction", "invalid_input", message),
                FieldProblem("/images_per_class", "invalid_input", message),
            ],
        )
    if request.images_per_class is not None:
        return check_images_per_class(request.images_per_class, facts)
    assert request.fraction is not None
    return images_per_class_of(request.fraction, facts)


def _privileged(
    request: JobRequest, facts: DatasetFacts, catalog: Catalog, count: int
) -> tuple[Component, ...]:
    wanted = (request.pi_type,) if isinstance(request.pi_type, str) else request.pi_type
    if not wanted:
        raise InvalidInput.at(
            "/pi_type", f"pi_type is empty; to attach nothing give {NO_PRIVILEGED!r}"
        )
    if len(set(wanted)) < len(wanted):
        raise InvalidInput.at("/pi_type", "pi_type names the same type twice")
    entries = {name: catalog.privileged_type(name) for name in wanted}
    if NO_PRIVILEGED in wanted and len(wanted) > 1:
        raise InvalidInput.at("/pi_type", f"{NO_PRIVILEGED!r} cannot be combined with other types")
    for name in request.options.pi:
        if name not in wanted:
            raise InvalidInput.at(
                f"/options/pi/{name}",
                f"options for {name!r}, which pi_type does not ask for; it asks for "
                + ", ".join(wanted),
            )
    if NO_PRIVILEGED in wanted:
        given = request.options.pi.get(NO_PRIVILEGED, {})
        entries[NO_PRIVILEGED].check_options(given, f"/options/pi/{NO_PRIVILEGED}")
    found = tuple(
        _component(
            entry, request.options.pi.get(name, {}), f"/options/pi/{name}", request, facts, count
        )
        for name, entry in sorted(entries.items())
        if name != NO_PRIVILEGED
    )
    tuners = [c for c in found if tunes_images(c)]
    if len(tuners) > 1:
        raise InvalidInput.at(
            f"/options/pi/{tuners[1].name}/schedule",
            f"{tuners[0].name} and {tuners[1].name} cannot both tune the images; "
            "give one of them the schedule 'labels_only'",
        )
    # Who tunes the images goes first: the other labels are then made for the tuned ones.
    return tuple(sorted(found, key=lambda component: not tunes_images(component)))


def _component(
    entry: CatalogEntry,
    given: Mapping[str, Any],
    pointer: str,
    request: JobRequest,
    facts: DatasetFacts,
    count: int,
) -> Component:
    own = dict(given)
    preset = own.pop("preset", None)
    if preset is not None and preset not in entry.preset_names():
        known = ", ".join(entry.preset_names()) or "none"
        raise InvalidInput.at(
            f"{pointer}/preset", f"unknown preset {preset!r} of {entry.name!r}; available: {known}"
        )
    applying = [
        row for row in entry.presets if row.applies(preset, facts.name, request.base_method, count)
    ]
    if preset is not None and preset not in {row.name for row in applying}:
        settings = [row for row in entry.presets if row.name == preset]
        known = ", ".join(sorted({row.base_method for row in settings if row.base_method}))
        raise InvalidInput.at(
            f"{pointer}/preset",
            f"the preset {preset!r} of {entry.name!r} has no settings for the base method "
            f"{request.base_method!r}; it has some for: {known}",
        )
    options = entry.option_defaults()
    for row in applying:
        options |= row.options
    # What the catalogue itself fills in is within its limits, as a test holds.
    entry.check_options(own, pointer)
    check_effects(own, options, options | own, pointer)
    return Component(name=entry.name, options=entry.typed(options | own))
