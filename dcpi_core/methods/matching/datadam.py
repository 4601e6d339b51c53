"""DataDAM: dataset distillation with attention matching (Sajedi et al., ICCV 2023).

DM that also compares where the blocks of the network look: spatial attention maps, one for each
block but the last. The published networks have batch norm (``ConvNetD3BN``), although the table of
settings says instance norm; the published code raises activations to the power 1, the paper to 4.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from dcpi_core.methods.matching.base import (
    NO_FLIP_FOR_DIGITS,
    FeatureMatching,
    FeatureMatchingOptions,
)
from dcpi_core.networks import Network, taps
from dcpi_core.registry import METHODS
from dcpi_core.spec.catalog import Preset

SCALE = 100.0
"""The published code multiplies the whole loss by this."""


class DataDAMOptions(FeatureMatchingOptions):
    """The settings of the paper."""

    iterations: int = Field(8000, ge=1, le=200_000, description="fresh networks")
    real_batch: int = Field(64, ge=1, le=8192, description="real images per class and step")
    image_learning_rate: float = Field(1.0, gt=0, le=100)
    init: Literal["noise", "real"] = Field("real", description="what the images start from")
    attention_power: float = Field(4.0, ge=1, le=8, description="of activations, before the sum")
    feature_weight: float = Field(
        0.01, ge=0, le=100, description="weight of the last features beside the attention"
    )


LARGE_BUDGETS = Preset(
    min_images_per_class=51,
    options={"image_learning_rate": 10.0},
    source="published for more than 50 images per class",
)

PUBLISHED_CODE = Preset(
    name="published_code",
    options={"attention_power": 1.0},
    source="what the published implementation runs",
)


@METHODS.register(
    "datadam",
    options=DataDAMOptions,
    source="Sajedi et al., ICCV 2023 (arXiv 2310.00093)",
    presets=(LARGE_BUDGETS, *NO_FLIP_FOR_DIGITS, PUBLISHED_CODE),
    facts={"passes": {"real": 1, "synthetic": 3}},
)
class DataDAM(FeatureMatching):
    """Learns images whose attention maps, under random networks, are those of the real data."""

    options: DataDAMOptions

    def represent(self, network: Network, images: Tensor) -> list[Tensor]:
        found = taps(network, images)
        maps = [spatial_attention(x, self.options.attention_power) for x in found.maps[:-1]]
        return [*maps, found.features.flatten(1)]

    def weights(self, places: int) -> Sequence[float]:
        return [SCALE] * (places - 1) + [SCALE * self.options.feature_weight]


def spatial_attention(maps: Tensor, power: float) -> Tensor:
    """Where a block looks: the sum of its channels' powers at each position, of unit length.

    Args:
        maps: (n, F, h, w).
        power: of the absolute activations.

    Returns:
        (n, h * w), rows of length one.
    """
    return F.normalize(maps.abs().pow(power).sum(1).flatten(1), dim=1)
