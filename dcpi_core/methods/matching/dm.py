"""DM: dataset condensation with distribution matching (Zhao and Bilen, WACV 2023).

No second derivative and no inner training: the cheapest of the family. Published code exits for
100 images per class and more, although its description gives results there; here they work.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from dcpi_core.methods.matching.base import (
    NO_FLIP_FOR_DIGITS,
    FeatureMatching,
    FeatureMatchingOptions,
)
from dcpi_core.networks import Network, first_order_features
from dcpi_core.registry import METHODS
from dcpi_core.spec.catalog import Preset


class DMOptions(FeatureMatchingOptions):
    """The published settings."""

    image_learning_rate: float = Field(1.0, gt=0, le=100)
    init: Literal["noise", "real"] = Field("real", description="what the images start from")


LARGE_BUDGETS = Preset(
    min_images_per_class=100,
    options={"image_learning_rate": 10.0},
    source="published for 100 and more images per class of CIFAR-10",
)


@METHODS.register(
    "dm",
    options=DMOptions,
    source="Zhao, Bilen, WACV 2023 (arXiv 2110.04181)",
    presets=(LARGE_BUDGETS, *NO_FLIP_FOR_DIGITS),
    facts={"passes": {"real": 1, "synthetic": 3}},
)
class DM(FeatureMatching):
    """Learns images whose mean features, under random networks, are those of the real data."""

    def represent(self, network: Network, images: Tensor) -> list[Tensor]:
        return [first_order_features(network, images).flatten(1)]
