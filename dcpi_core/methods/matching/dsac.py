"""DSAC: contrastive gradient matching under siamese augmentation (Lee et al., ICML 2022)."""

from typing import Literal

from pydantic import Field

from dcpi_core.matching import PUBLISHED_LOOPS
from dcpi_core.methods.matching.base import (
    NO_FLIP_FOR_DIGITS,
    ONE_PER_CLASS,
    AugmentedOptions,
    ContrastiveMatching,
    ContrastiveOptions,
)
from dcpi_core.registry import METHODS


class DSACOptions(AugmentedOptions, ContrastiveOptions):
    """The published settings."""

    init: Literal["noise", "real"] = Field("real", description="what the images start from")


@METHODS.register(
    "dsac",
    options=DSACOptions,
    source="Lee et al., ICML 2022 (arXiv 2202.02916)",
    presets=(*PUBLISHED_LOOPS, ONE_PER_CLASS, *NO_FLIP_FOR_DIGITS),
)
class DSAC(ContrastiveMatching):
    """Contrastive gradient matching in which both sides undergo the same augmentation."""

    def __init__(self, options: DSACOptions) -> None:
        super().__init__(options, options.augmentation)
