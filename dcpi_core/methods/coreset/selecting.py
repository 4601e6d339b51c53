"""A coreset rule as a library call: signals in, indices and weights out, no job around it."""

from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from dcpi_core.methods.coreset.base import Coreset, Group, with_validation
from dcpi_core.registry import METHODS
from dcpi_core.rng import Streams
from dcpi_core.signals import Signals
from dcpi_core.spec.errors import InvalidInput, UnknownName


@dataclass(frozen=True, eq=False)
class Choice:
    """What a rule chose.

    Attributes:
        indices: (k,) int64 positions among the images of the signals, in the order they were
            picked; class after class, unless the choice was free.
        weights: (k,) float32 with mean one, how much each counts; None unless the rule was asked
            for them.
    """

    indices: Tensor
    weights: Tensor | None

    def __len__(self) -> int:
        return len(self.indices)


def select(
    signals: Signals, budget: int, rule: str | Coreset = "herding", *, seed: int = 0, **options: Any
) -> Choice:
    """Choose images by a coreset rule, as a job with the same options and seed does.

    Args:
        signals: what a proxy says of every image; see ``Assets.signals``. Rules without a proxy
            need no more than ``Signals.of_labels``.
        budget: images per class; a free choice takes that many times the number of classes.
        rule: name of a rule, or one that was constructed with its options.
        seed: of the images that a rule draws or holds out.
        options: of the named rule, e.g. ``balance="free"`` or ``weighted=True``.

    Raises:
        UnknownName: there is no such rule; lists those there are.
        InvalidInput: an option is unknown or out of range, or the budget is more than there is.
    """
    found = _named(rule, options) if isinstance(rule, str) else rule
    if options and found is rule:
        raise InvalidInput("options go with the name of a rule; this rule has its own already")
    streams, num_classes = Streams(seed), int(signals.labels.max()) + 1
    if found.uses_validation and signals.validation is None:
        signals = with_validation(signals, num_classes, streams)
    groups = _groups(found, signals.labels, num_classes, budget)
    picked = [
        members[found.pick(signals.at(members), count, streams.generator("selection", number))]
        for number, (members, count) in enumerate(groups)
    ]
    indices = torch.cat(picked)
    return Choice(indices, found.weights(signals, groups, indices) if found.weighted else None)


def _named(name: str, options: dict[str, Any]) -> Coreset:
    rules = {entry.name: entry for entry in METHODS if issubclass(entry.target, Coreset)}
    entry = rules.get(METHODS.get(name).name)
    if entry is None:
        raise UnknownName.of("coreset rule", name, rules)
    try:
        rule: Coreset = entry.target(entry.options.model_validate(options))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        known = ", ".join(sorted(entry.options.model_fields))
        raise InvalidInput(f"{name}: {where}: {problem['msg']}; options: {known}") from None
    return rule


def _groups(rule: Coreset, labels: Tensor, num_classes: int, budget: int) -> list[Group]:
    """What is chosen among: each class by itself, or everything at once."""
    by_class = [(labels == label).nonzero().squeeze(1) for label in range(num_classes)]
    free = rule.options.balance == "free"
    most = len(labels) // num_classes if free else min(map(len, by_class))
    if not 1 <= budget <= most:
        smallest = "" if free else ", as many as the smallest class has"
        raise InvalidInput(f"budget must be 1 to {most} images per class{smallest}: {budget}")
    if free:
        return [Group(torch.arange(len(labels)), budget * num_classes)]
    return [Group(members, budget) for members in by_class]
