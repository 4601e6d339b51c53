"""Protocols by name: how students are trained. ``docs/protocols.md`` describes each."""

from dataclasses import dataclass, replace

from dcpi_core.spec.job import JobSpec
from dcpi_core.spec.protocols import augmentation_of, other_view_of
from dcpi_core.training import Recipe


@dataclass(frozen=True)
class Recipes:
    """The recipe of a job's students, and where it differs for a control."""

    own: Recipe
    other_view: Recipe
    full: Recipe

    @classmethod
    def of(cls, spec: JobSpec) -> "Recipes":
        own, evaluation = recipe_of(spec), spec.evaluation
        other = other_view_of(evaluation.protocol, spec.dataset.name)
        return cls(
            own=own,
            other_view=replace(own, augmentation=other),
            full=replace(own, epochs=evaluation.full_epochs or own.epochs),
        )


def recipe_of(spec: JobSpec) -> Recipe:
    """The recipe of a job's protocol."""
    evaluation = spec.evaluation
    augmentation = augmentation_of(evaluation.protocol, spec.dataset.name)
    return Recipe(epochs=evaluation.epochs, augmentation=augmentation)
