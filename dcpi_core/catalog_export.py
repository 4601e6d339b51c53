"""Writes ``spec/catalog.json`` from the registries: ``python -m dcpi_core.catalog_export``."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, get_args

import torch
from torch.utils.flop_counter import FlopCounterMode

from dcpi_core import spec
from dcpi_core.networks import Layer, build
from dcpi_core.registry import DATASETS, METHODS, NETWORKS, PRIVILEGED_TYPES, Registry
from dcpi_core.spec.catalog import Catalog, CatalogEntry
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.errors import InvalidInput

SIZES = (8, 16, 28, 32, 48, 64, 96, 128, 224)
PATH = Path(spec.__file__).with_name("catalog.json")


def build_catalog() -> Catalog:
    """The catalogue of everything that is registered."""
    return Catalog(
        methods=_entries(METHODS),
        privileged_types=_entries(PRIVILEGED_TYPES),
        networks=_networks(),
        datasets={e.name: DatasetFacts.model_validate(e.facts) for e in DATASETS},
    )


def render(catalog: Catalog) -> str:
    """The text of ``catalog.json``."""
    return json.dumps(catalog.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"


def _entries(registry: Registry[Any]) -> dict[str, CatalogEntry]:
    return {
        entry.name: CatalogEntry(
            name=entry.name,
            title=entry.title,
            source=entry.source,
            options_schema=entry.options.model_json_schema(),
            presets=entry.presets,
            facts=entry.facts,
            aliases=entry.aliases,
        )
        for entry in registry
    }


def _networks() -> dict[str, CatalogEntry]:
    """Networks with what they cost and how large their features are, by image size."""
    return {
        name: entry.model_copy(update={"facts": entry.facts | _sizes(name)})
        for name, entry in _entries(NETWORKS).items()
    }


def _sizes(name: str) -> dict[str, Any]:
    smallest = next(side for side in range(1, 1025) if _takes(name, side))
    return {"smallest_image": smallest, "by_size": _by_size(name)}


def _takes(name: str, side: int) -> bool:
    try:
        with torch.device("meta"):
            build(name, 3, 10, side)
    except InvalidInput:
        return False
    return True


def _by_size(name: str) -> dict[str, dict[str, Any]]:
    """For square colour images; the number of channels changes the first layer alone."""
    found = {}
    for side in SIZES:
        try:
            with torch.device("meta"):
                network = build(name, 3, 10, side)
                image = torch.empty(1, 3, side, side)
        except InvalidInput:
            continue
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            network(image)
        found[str(side)] = {
            "layers": {
                name: list(network.feature_shape(number))
                for name, number in zip(get_args(Layer), (1, 2, network.num_layers), strict=True)
                if number <= network.num_layers
            },
            "forward_flops": counter.get_total_flops(),
            "parameters": sum(p.numel() for p in network.parameters()),
        }
    return found


def main() -> int:
    """Write the file, or with ``--check`` fail if it is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if stale")
    text = render(build_catalog())
    if not parser.parse_args().check:
        PATH.write_text(text, encoding="utf-8")
        return 0
    if PATH.exists() and PATH.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{PATH} is stale: run `make catalog`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
