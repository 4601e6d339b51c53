"""``dcpi list``: what a job can be made of, by this version's catalogue. Imports no torch."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args

import typer

from dcpi_core.cli import screen
from dcpi_core.spec.catalog import Catalog, CatalogEntry, Preset, load_catalog
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.errors import UnknownName
from dcpi_core.spec.job import EvaluationOptions
from dcpi_core.spec.protocols import Protocol, augmentation_of, default_epochs

EVALUATION = "evaluation"
"""Options that belong to no component."""

LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "over",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


def list_components(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="one of them, with its options")
    ] = None,
) -> None:
    """List methods, privileged types, networks, datasets and protocols, or the options of one."""
    catalog = load_catalog()
    lines = _everything(catalog) if name is None else _about(catalog, name)
    for line in lines:
        screen.out().print(line, markup=False)


def _everything(catalog: Catalog) -> Iterator[str]:
    yield "base methods, for --base-method"
    yield from _titles(catalog.methods)
    yield "\nprivileged types, for --pi-type"
    yield from _titles(catalog.privileged_types)
    yield "\nnetworks, for --network and evaluation.networks"
    yield "  " + ", ".join(sorted(catalog.networks))
    yield "\ndatasets, for --dataset, beside your own with --archive"
    yield from (f"  {name:<20}{_summary(facts)}" for name, facts in catalog.datasets.items())
    yield "\nprotocols, for evaluation.protocol"
    yield from map(_protocol, get_args(Protocol))
    yield f"\n`dcpi list NAME` shows its options, `dcpi list {EVALUATION}` those of measuring"


def _titles(entries: Mapping[str, CatalogEntry]) -> Iterator[str]:
    return (f"  {name:<20}{entry.title}" for name, entry in entries.items())


def _about(catalog: Catalog, name: str) -> list[str]:
    """All that has this name; a protocol may be called like the method that it was published with.

    Raises:
        UnknownName: nothing has it; lists what there is.
    """
    found = list(_named(catalog, name))
    if not found:
        aliases = [alias for entry in catalog.methods.values() for alias in entry.aliases]
        kinds = (catalog.methods, catalog.privileged_types, catalog.networks, catalog.datasets)
        known = [*aliases, EVALUATION, *(own for kind in kinds for own in kind)]
        raise UnknownName.of("component", name, {*known, *get_args(Protocol)})
    return found


def _named(catalog: Catalog, name: str) -> Iterator[str]:
    yield from _component(catalog, name)
    if name in catalog.datasets:
        yield f"dataset {name}: {_summary(catalog.datasets[name])}"
        yield f"  classes: {', '.join(catalog.datasets[name].classes)}"
    for protocol in get_args(Protocol):
        if protocol == name:
            yield f"protocol {_protocol(protocol).lstrip()}"
    if name == EVALUATION:
        yield "evaluation: how training sets are measured"
        yield from _options(EvaluationOptions.model_json_schema(), f"{EVALUATION}.")


def _component(catalog: Catalog, name: str) -> Iterator[str]:
    for entry in catalog.methods.values():
        if name in (entry.name, *entry.aliases):
            yield from _entry("base method", entry, "base.")
    if name in catalog.privileged_types:
        entry = catalog.privileged_types[name]
        yield from _entry("privileged type", entry, f"pi.{name}.")
    if name in catalog.networks:
        # Networks are chosen by name; these are the options of dcpi_core.networks.build.
        yield from _entry("network", catalog.networks[name], "")


def _entry(kind: str, entry: CatalogEntry, prefix: str) -> Iterator[str]:
    yield f"{kind} {entry.name}: {entry.title}"
    yield f"  {entry.source}"
    if entry.aliases:
        yield f"  also called {', '.join(entry.aliases)}"
    yield from _options(entry.options_schema, prefix)
    if entry.presets:
        yield "  presets, in place of the defaults; later ones win, and what is given beats all"
    yield from (_preset(preset, prefix) for preset in entry.presets)


def _options(schema: Mapping[str, Any], prefix: str) -> Iterator[str]:
    properties = schema.get("properties", {})
    if properties:
        yield f"  options, to be set with --set {prefix}NAME=VALUE" if prefix else "  options"
    for name, own in properties.items():
        text = f"    {name:<28}{_allowed(own)}; default {_shown(own.get('default'))}"
        yield text + (f"; {own['description']}" if "description" in own else "")


def _allowed(schema: Mapping[str, Any]) -> str:
    """The type of an option's value and its limits, in words."""
    if "enum" in schema or "const" in schema:
        return " | ".join(map(str, schema.get("enum", [schema.get("const")])))
    if "anyOf" in schema:
        return " or ".join(map(_allowed, schema["anyOf"]))
    kind = {"null": "none", "array": "list"}.get(schema.get("type", ""), schema.get("type", "any"))
    if "items" in schema:
        return f"{kind} of {_allowed(schema['items'])}"
    limits = [f"{words} {_shown(schema[key])}" for key, words in LIMITS.items() if key in schema]
    return " ".join([kind, ", ".join(limits)]).rstrip()


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "none" if value is None else str(value)


def _preset(preset: Preset, prefix: str) -> str:
    asked = f"if {prefix}preset={preset.name}, " if preset.name else ""
    low, high = preset.min_images_per_class, preset.max_images_per_class
    counts = f"{low} or more" if high is None else f"{low} to {high}"
    conditions = [
        *([f"on {preset.dataset}"] if preset.dataset else []),
        *([f"with {preset.base_method}"] if preset.base_method else []),
        *([f"at {counts} images per class"] if (low, high) != (1, None) else []),
    ]
    when = ", ".join(conditions) or "for every job"
    settings = ", ".join(f"{name}={_shown(value)}" for name, value in preset.options.items())
    return f"    {asked}{when}: {settings}"


def _summary(facts: DatasetFacts) -> str:
    shape = f"{facts.channels} x {facts.height} x {facts.width}"
    counts = f"{facts.num_train:,} training and {facts.num_test:,} test images"
    return f"{facts.title}, {facts.num_classes} classes, {counts}, {shape}"


def _protocol(name: Protocol) -> str:
    return f"  {name:<20}{default_epochs(name)} epochs, augmentation: {augmentation_of(name, '')}"
