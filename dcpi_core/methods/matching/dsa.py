"""DSA: gradient matching under differentiable siamese augmentation (Zhao and Bilen, ICML 2021).

DC whose real and synthetic images of a class undergo the same change, another one for every class
and step. Networks between two updates, and students, train with changes of their own per image.
"""

from typing import Literal

from pydantic import Field

from dcpi_core.matching import PUBLISHED_LOOPS
from dcpi_core.methods.matching.base import (
    NO_FLIP_FOR_DIGITS,
    AugmentedOptions,
    GradientMatching,
    GradientMatchingOptions,
)
from dcpi_core.registry import METHODS


class DSAOptions(AugmentedOptions, GradientMatchingOptions):
    """Gradient matching as published for DSA: DC's loops, from real images."""

    init: Literal["noise", "real"] = Field("real", description="what the images start from")


@METHODS.register(
    "dsa",
    options=DSAOptions,
    source="Zhao, Bilen, ICML 2021 (arXiv 2102.08259)",
    presets=(*PUBLISHED_LOOPS, *NO_FLIP_FOR_DIGITS),
)
class DSA(GradientMatching):
    """Gradient matching in which real and synthetic images undergo the same augmentation."""

    def __init__(self, options: DSAOptions) -> None:
        super().__init__(options, options.augmentation)
