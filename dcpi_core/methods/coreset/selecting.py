"""A coreset rule as a library call: signals in, indices and weights out, no job around it."""

from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from dcpi_core.methods.coreset.base import (
    Coreset,
    CoresetOptions,
    Group,
    ProxyOptions,
    with_validation,
)
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
        signals: what a proxy says of every image; see ``Assets.signals``, and
            ``Signals.of_labels`` for features and logits of one's own.
        budget: images per class; a free choice takes that many times the number of classes.
        rule: name of a rule, or one that was constructed with its options.
        seed: of the images that a rule draws or holds out; a job's is that of its proxy too.
        options: of the named rule, e.g. ``balance="free"`` or ``weighted=True``. Those of the
            proxy are not among them: it has been trained.

    Raises:
        UnknownName: there is no such rule; lists those there are.
        InvalidInput: an option is unknown or out of range, the budget is more than there is, or
            the rule goes by a signal that is missing, of another length or not finite.
    """
    found = _named(rule, options) if isinstance(rule, str) else rule
    if options and found is rule:
        raise InvalidInput("options go with the name of a rule; this rule has its own already")
    _check(signals, found)
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
    called = rules | {alias: entry for entry in rules.values() for alias in entry.aliases}
    if name not in called:
        raise UnknownName.of("coreset rule", name, rules)
    entry = called[name]
    for option in options.keys() & ProxyOptions.model_fields.keys() - CoresetOptions.model_fields:
        raise InvalidInput(f"{option}: the proxy is trained already; say this to its TrainingPlan")
    try:
        rule: Coreset = entry.target(entry.options.model_validate(options))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        known = ", ".join(sorted(entry.options.model_fields))
        raise InvalidInput(f"{name}: {where}: {problem['msg']}; options: {known}") from None
    return rule


def _check(signals: Signals, rule: Coreset) -> None:
    """Refuse what a rule would otherwise choose by at random, or not at all."""
    name, missing = type(rule).__name__, set(signals.missing)
    for signal in rule.reads:
        if signal in missing:
            raise InvalidInput(f"{name} goes by {signal}, which these signals lack")
        tensor: Tensor = getattr(signals, signal)
        if len(tensor) != len(signals):
            raise InvalidInput(f"{signal}: of {len(tensor)} images, labels of {len(signals)}")
        if not bool(tensor.isfinite().all()):
            raise InvalidInput(f"{signal}: a value is NaN or infinite")
    if not len(signals):
        raise InvalidInput("there are no images to choose from")


def _groups(rule: Coreset, labels: Tensor, num_classes: int, budget: int) -> list[Group]:
    """What is chosen among: each class by itself, or everything at once."""
    by_class = [(labels == label).nonzero().squeeze(1) for label in range(num_classes)]
    free = rule.options.balance == "free"
    most = len(labels) // num_classes if free else min(map(len, by_class))
    if not free and not most:
        raise InvalidInput("every class from 0 to the highest label needs an image")
    if not 1 <= budget <= most:
        smallest = "" if free else ", as many as the smallest class has"
        raise InvalidInput(f"budget must be 1 to {most} images per class{smallest}: {budget}")
    if free:
        return [Group(torch.arange(len(labels)), budget * num_classes)]
    return [Group(members, budget) for members in by_class]
