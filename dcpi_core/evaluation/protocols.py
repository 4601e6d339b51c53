"""Protocols by name: how students are trained. ``docs/protocols.md`` describes each."""

from dcpi_core.spec.job import JobSpec
from dcpi_core.spec.protocols import augmentation_of
from dcpi_core.training import Recipe


def recipe_of(spec: JobSpec) -> Recipe:
    """The recipe of a job's protocol."""
    evaluation = spec.evaluation
    augmentation = augmentation_of(evaluation.protocol, spec.dataset.name)
    return Recipe(epochs=evaluation.epochs, augmentation=augmentation)
