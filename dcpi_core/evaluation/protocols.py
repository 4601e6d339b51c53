"""Protocols by name: how students are trained. ``docs/protocols.md`` describes each."""

from dcpi_core.spec.job import EvaluationSpec
from dcpi_core.training import Augmentation, Recipe

AUGMENTATIONS: dict[str, Augmentation] = {"dc": "none", "dc_flip_shift": "flip_shift"}


def recipe_of(evaluation: EvaluationSpec) -> Recipe:
    """The recipe of a job's protocol."""
    return Recipe(epochs=evaluation.epochs, augmentation=AUGMENTATIONS[evaluation.protocol])
