"""Name -> implementation, for methods, privileged types, datasets and networks.

A plug-in is one module that registers itself at import; ``discover`` imports every module of the
plug-in packages, so there is no list to edit. Duplicate, undocumented or unknown names raise.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from dcpi_core.spec.base import Options
from dcpi_core.spec.catalog import Preset
from dcpi_core.spec.errors import UnknownName

T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered implementation.

    Attributes:
        target: the class or function itself.
        title: first line of its docstring, shown in the catalogue.
        source: the publication or origin, e.g. ``"Zhao et al., ICLR 2021 (arXiv 2006.05929)"``.
        facts: JSON-compatible facts for the catalogue (dataset sizes, network shapes, ...).
        presets: published hyper-parameters, applied over the option defaults.
        aliases: other names under which it can be asked for.
    """

    name: str
    target: T
    options: type[Options]
    title: str
    source: str
    facts: dict[str, Any] = field(default_factory=dict)
    presets: tuple[Preset, ...] = ()
    aliases: tuple[str, ...] = ()


class Registry(Generic[T]):
    """The implementations of one kind of component."""

    def __init__(self, kind: str, *packages: str) -> None:
        self.kind = kind
        self._packages = packages
        self._entries: dict[str, Entry[T]] = {}
        self._aliases: dict[str, str] = {}
        self._discovered = False

    def register(
        self,
        name: str,
        *,
        options: type[Options] = Options,
        source: str,
        facts: dict[str, Any] | None = None,
        presets: tuple[Preset, ...] = (),
        aliases: tuple[str, ...] = (),
    ) -> Callable[[T], T]:
        """Decorator that adds the decorated class or function under ``name``.

        Raises:
            ValueError: the name or an alias is taken or the target has no docstring.
        """

        def add(target: T) -> T:
            for own in (name, *aliases):
                if own in self._entries or own in self._aliases:
                    raise ValueError(f"{self.kind} {own!r} is registered twice")
            title = (inspect.getdoc(target) or "").partition("\n")[0]
            if not title:
                raise ValueError(f"{self.kind} {name!r} has no docstring")
            entry = Entry(name, target, options, title, source, facts or {}, presets, aliases)
            self._entries[name] = entry
            self._aliases |= dict.fromkeys(aliases, name)
            return target

        return add

    def get(self, name: str) -> Entry[T]:
        """Return the entry called ``name``, also by an alias.

        Raises:
            UnknownName: no such entry; the message lists those that exist.
        """
        self.discover()
        try:
            return self._entries[self._aliases.get(name, name)]
        except KeyError:
            raise UnknownName.of(self.kind, name, self._entries) from None

    def __iter__(self) -> Iterator[Entry[T]]:
        self.discover()
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def __len__(self) -> int:
        self.discover()
        return len(self._entries)

    def discover(self) -> None:
        """Import every module below the plug-in packages, once."""
        if self._discovered:
            return
        self._discovered = True
        for package_name in self._packages:
            package = importlib.import_module(package_name)
            for module in pkgutil.walk_packages(package.__path__, package_name + "."):
                importlib.import_module(module.name)


METHODS: Registry[Any] = Registry("base method", "dcpi_core.methods")
PRIVILEGED_TYPES: Registry[Any] = Registry("privileged type", "dcpi_core.privileged")
DATASETS: Registry[Any] = Registry("dataset", "dcpi_core.datasets")
NETWORKS: Registry[Any] = Registry("network", "dcpi_core.networks")
