"""The catalogue: what methods, privileged types, datasets and networks exist, and their options.

``catalog.json`` is generated from the registries (``make catalog``) so that the web application
can list components, fill in defaults and refuse bad options without importing torch. A test fails
when the file is stale.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pydantic import Field

from dcpi_core.spec.base import Name, Record
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.errors import FieldProblem, InvalidInput, UnknownName

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError


class Preset(Record):
    """Hyper-parameters that apply when every stated condition holds.

    An unnamed preset applies by itself, over the option defaults. A named one (``"published"``)
    applies only when the user asks for it with ``"preset": name``. Later presets win.
    """

    name: str | None = None
    dataset: str | None = None
    base_method: str | None = None
    min_images_per_class: int = 1
    max_images_per_class: int | None = None
    options: dict[str, Any]
    source: str = ""

    def applies(
        self, name: str | None, dataset: str, base_method: str, images_per_class: int
    ) -> bool:
        """Whether the preset is wanted for this job."""
        return (
            self.name in (None, name)
            and self.dataset in (None, dataset)
            and self.base_method in (None, base_method)
            and self.min_images_per_class <= images_per_class
            and (self.max_images_per_class is None or images_per_class <= self.max_images_per_class)
        )


class CatalogEntry(Record):
    """One component as the catalogue shows it; ``options_schema`` is JSON Schema 2020-12."""

    name: Name
    title: str
    source: str
    options_schema: dict[str, Any]
    presets: tuple[Preset, ...] = ()
    facts: dict[str, Any] = Field(default_factory=dict)
    aliases: tuple[Name, ...] = Field((), description="other names under which to ask for it")

    def option_defaults(self) -> dict[str, Any]:
        """Every option with its default.

        One that is none unless it is given is left out: a spec that does not ask for it keeps the
        digest that it had before there was such an option.
        """
        properties: dict[str, Any] = self.options_schema.get("properties", {})
        defaults = {name: own.get("default") for name, own in properties.items()}
        return {name: value for name, value in defaults.items() if value is not None}

    def preset_names(self) -> list[str]:
        """Presets that a user can ask for."""
        return sorted({preset.name for preset in self.presets if preset.name})

    def check_options(self, options: Mapping[str, Any], pointer: str) -> None:
        """Validate ``options`` against the schema.

        Raises:
            InvalidInput: names each offending field below ``pointer`` and what is allowed.
        """
        if not options:
            return
        from jsonschema import Draft202012Validator  # noqa: PLC0415 - a tenth of an import of this

        found = Draft202012Validator(self.options_schema).iter_errors(dict(options))
        problems = [_field_problem(error, pointer, self.options_schema) for error in found]
        if problems:
            told = "; ".join(_named(problem, pointer) for problem in problems)
            raise InvalidInput(f"options of {self.name!r}: {told}", problems)

    def typed(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Checked options with every number as its schema has it, so that 1 and 1.0 are the same.

        Specs are told apart by a digest of their text.
        """
        properties: dict[str, Any] = self.options_schema.get("properties", {})
        return {
            name: _typed(value, properties[name]) if type(value) in (int, float) else value
            for name, value in options.items()
        }


class Catalog(Record):
    """Every component the core offers."""

    methods: dict[str, CatalogEntry]
    privileged_types: dict[str, CatalogEntry]
    networks: dict[str, CatalogEntry]
    datasets: dict[str, DatasetFacts]

    def dataset(self, name: str, pointer: str = "/dataset") -> DatasetFacts:
        """Facts of the published dataset called ``name``; raises UnknownName."""
        if name not in self.datasets:
            raise UnknownName.of("dataset", name, self.datasets, pointer)
        return self.datasets[name]

    def method(self, name: str, pointer: str = "/base_method") -> CatalogEntry:
        """The base method called ``name``, also by an alias; raises UnknownName."""
        by_alias = {alias: entry for entry in self.methods.values() for alias in entry.aliases}
        return by_alias.get(name) or _lookup("base method", self.methods, name, pointer)

    def privileged_type(self, name: str, pointer: str = "/pi_type") -> CatalogEntry:
        """The privileged type called ``name``; raises UnknownName."""
        return _lookup("privileged type", self.privileged_types, name, pointer)

    def network(self, name: str, pointer: str) -> CatalogEntry:
        """The network called ``name``; raises UnknownName."""
        return _lookup("network", self.networks, name, pointer)


@cache
def load_catalog() -> Catalog:
    """The catalogue shipped with the package."""
    text = files("dcpi_core.spec").joinpath("catalog.json").read_text(encoding="utf-8")
    return Catalog.model_validate(json.loads(text))


def _lookup(
    kind: str, entries: Mapping[str, CatalogEntry], name: str, pointer: str
) -> CatalogEntry:
    try:
        return entries[name]
    except KeyError:
        raise UnknownName.of(kind, name, entries, pointer) from None


def _typed(value: float, schema: Mapping[str, Any]) -> float:
    kind = schema.get("type")
    if kind is None:  # one of several, none among them
        kind = next(own["type"] for own in schema["anyOf"] if own["type"] != "null")
    return float(value) if kind == "number" else int(value)


def _named(problem: FieldProblem, pointer: str) -> str:
    """The message, behind the option's name if it is about a single one."""
    name = problem.pointer.removeprefix(pointer).lstrip("/")
    return f"{name}: {problem.message}" if name else problem.message


def _field_problem(
    error: "ValidationError", pointer: str, schema: Mapping[str, Any]
) -> FieldProblem:
    where = "".join(f"/{part}" for part in error.absolute_path)
    message = error.message
    if error.validator == "additionalProperties":
        allowed = ", ".join(sorted(schema.get("properties", {}))) or "none"
        message = f"{message}; allowed options: {allowed}"
    return FieldProblem(pointer + where, "invalid_option", message)
