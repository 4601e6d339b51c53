"""Rules that cross components: which networks can see which images, and who may tune them."""

import math
from collections.abc import Sequence
from typing import Any

from dcpi_core.spec.catalog import Catalog
from dcpi_core.spec.controls import label_steps
from dcpi_core.spec.dataset import DatasetFacts, padded_size
from dcpi_core.spec.errors import InvalidInput
from dcpi_core.spec.job import Component

WIDEST_LEARNED = 8192
"""Widest features whose frequencies are learned: three layers of that width squared, 0.8 GB."""


def check_frequencies(base: Component, network: str, facts: DatasetFacts, catalog: Catalog) -> None:
    """Refuse a network of frequencies that would not fit in memory.

    Raises:
        InvalidInput: says how wide the features may be, and which option does without that network.
    """
    if base.options.get("sampling") != "learned":
        return
    width = feature_values(network, facts, catalog)
    if width is not None and width > WIDEST_LEARNED:
        raise InvalidInput.at(
            "/options/base/sampling",
            f"{base.name} learns frequencies for features of at most {WIDEST_LEARNED} values, and "
            f"those of {network} for {facts.name!r} have {width}; set sampling to 'normal', or "
            "take a deeper network",
        )


def check_partition(base: Component, privileged: Sequence[Component]) -> None:
    """Refuse to tune images where one stored image holds several: only whole ones can be kept.

    Raises:
        InvalidInput: says which options would do.
    """
    tuning = [part.name for part in privileged if tunes_images(part)]
    if tuning and int(base.options.get("partition", 1)) > 1:
        raise InvalidInput.at(
            f"/options/pi/{tuning[0]}/schedule",
            f"{base.name} stores several small images in one, and {tuning[0]} labels tune whole "
            "images; set schedule to 'labels_only', or the option partition of the base method "
            "to 1",
        )


def chooses_freely(base: Component) -> bool:
    """Whether a coreset rule chooses among all images, however many of each class that gives."""
    return bool(base.options.get("balance") == "free")


def check_balance(base: Component, privileged: Sequence[Component]) -> None:
    """Refuse to learn labels class by class for images that are not as many of each class.

    Raises:
        InvalidInput: says which options would do.
    """
    learned = [part.name for part in privileged if label_steps(part)]
    if learned and chooses_freely(base):
        raise InvalidInput.at(
            "/options/base/balance",
            f"{learned[0]} labels are learned from as many images of each class; with a free "
            f"choice of images set the option learning of {learned[0]} to 'assigned', or choose "
            "with balance 'class'",
        )


def is_weighted(base: Component) -> bool:
    """Whether a coreset rule says how much each image counts."""
    return bool(base.options.get("weighted", False))


def check_weights(base: Component, privileged: Sequence[Component]) -> None:
    """Refuse weights beside privileged labels: these know nothing of them.

    Raises:
        InvalidInput: says which option to drop.
    """
    if privileged and is_weighted(base):
        raise InvalidInput.at(
            "/options/base/weighted",
            f"weights belong to the loss on hard labels alone, not to {privileged[0].name} labels; "
            "set the option weighted of the base method to false, or ask for pi_type 'none'",
        )


def check_image_size(network: str, facts: DatasetFacts, catalog: Catalog, pointer: str) -> None:
    """Refuse a network whose layers would shrink these images to nothing.

    Raises:
        InvalidInput: names the smallest images that the network takes.
    """
    smallest = catalog.network(network, pointer).facts.get("smallest_image", 1)
    if min(padded_size(facts.channels, facts.height, facts.width)) < smallest:
        raise InvalidInput.at(
            pointer,
            f"{network} needs images of at least {smallest} x {smallest} pixels; "
            f"{facts.name!r} has {facts.height} x {facts.width}",
        )


def check_schedule(privileged: Component) -> None:
    """Refuse to tune images where labels come about in a way that leaves images alone.

    Raises:
        InvalidInput: says which way of learning tunes them.
    """
    schedule = privileged.options.get("schedule", "labels_only")
    if schedule != "labels_only" and not tunes_images(privileged):
        learning = privileged.options.get("learning")
        raise InvalidInput.at(
            f"/options/pi/{privileged.name}/schedule",
            f"learning {learning!r} leaves images alone; for schedule {schedule!r} set learning "
            "to gradient_matching, or set schedule to labels_only",
        )


def tunes_images(component: Component) -> bool:
    """Whether a privileged type changes the images while it learns labels for them."""
    options = component.options
    learned = options.get("learning") == "gradient_matching"
    return learned and options.get("schedule", "labels_only") != "labels_only"


def facts_at_size(network: str, facts: DatasetFacts, catalog: Catalog) -> dict[str, Any]:
    """What the catalogue knows of a network at this image size; empty where it was not measured."""
    height, width = padded_size(facts.channels, facts.height, facts.width)
    by_size: dict[str, dict[str, Any]] = catalog.networks[network].facts.get("by_size", {})
    return by_size.get(str(height), {}) if height == width else {}


def feature_values(network: str, facts: DatasetFacts, catalog: Catalog) -> int | None:
    """Values of a network's features of one image; None where none were measured.

    Between sizes that the catalogue knows, and beyond them, as if they grew with the area: right
    for maps up to a row of pixels.
    """
    by_size: dict[str, dict[str, Any]] = catalog.networks[network].facts.get("by_size", {})
    known: dict[int, int] = {
        int(size) ** 2: math.prod(each["layers"]["final"]) for size, each in by_size.items()
    }
    if not known:
        return None
    area = math.prod(padded_size(facts.channels, facts.height, facts.width))
    below = max((size for size in known if size <= area), default=min(known))
    above = min((size for size in known if size > below), default=below)
    if area <= below or above == below:
        return max(1, round(known[below] * area / below))
    part = (area - below) / (above - below)
    return round(known[below] + part * (known[above] - known[below]))


def check_layers(
    networks: Sequence[str], privileged: Sequence[Component], catalog: Catalog
) -> None:
    """Refuse labels of a block that one of these networks lacks: the job's, or a student.

    Raises:
        InvalidInput: names the network and the blocks that it has.
    """
    for component in privileged:
        layer = component.options.get("layer")
        for network in networks:
            known = _layers_of(network, catalog)
            if layer and known and layer not in known:
                raise InvalidInput.at(
                    f"/options/pi/{component.name}/layer",
                    f"{network} has no {layer} block to make or take {component.name} labels of; "
                    f"it has: {', '.join(sorted(known))}",
                )


def _layers_of(network: str, catalog: Catalog) -> set[str]:
    """Names of a network's blocks, the same at every image size; empty where none was measured."""
    by_size: dict[str, dict[str, Any]] = catalog.networks[network].facts.get("by_size", {})
    return {layer for facts in by_size.values() for layer in facts["layers"]}
