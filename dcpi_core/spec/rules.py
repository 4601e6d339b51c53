"""Rules that cross components: which networks can see which images and wear which labels."""

from typing import Any

from dcpi_core.spec.catalog import Catalog
from dcpi_core.spec.dataset import DatasetFacts, padded_size
from dcpi_core.spec.errors import InvalidInput


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


def check_feature_labels(
    network: str, student: str, facts: DatasetFacts, catalog: Catalog, pointer: str
) -> None:
    """Refuse a student whose features have another shape than the labels it is to learn.

    Raises:
        InvalidInput: names the network that the labels are made for.
    """
    if student == network:
        return
    shapes = [_feature_shape(name, facts, catalog) for name in (network, student)]
    if None in shapes or shapes[0] != shapes[1]:
        raise InvalidInput.at(
            pointer,
            f"feature labels are made for {network} and fit no other feature shape; "
            f"evaluate {student} in a job of its own without them",
        )


def facts_at_size(network: str, facts: DatasetFacts, catalog: Catalog) -> dict[str, Any]:
    """What the catalogue knows of a network at this image size; empty where it was not measured."""
    height, width = padded_size(facts.channels, facts.height, facts.width)
    by_size: dict[str, dict[str, Any]] = catalog.networks[network].facts.get("by_size", {})
    return by_size.get(str(height), {}) if height == width else {}


def _feature_shape(network: str, facts: DatasetFacts, catalog: Catalog) -> list[int] | None:
    shape: list[int] | None = facts_at_size(network, facts, catalog).get("features")
    return shape
