"""Attention labels: poolings of feature labels, a hundredth of their bytes.

Spatial attention says where features should be strong, channel attention which of them. Both are
the parameter-free poolings of the paper (its section on attention labels). By default whole maps
are learned and pooled at the end; ``learned_form: pooled`` learns the pooled values themselves.
"""

from typing import ClassVar, Literal

from pydantic import Field

from dcpi_core.ops.pooling import Form, Pooling
from dcpi_core.privileged.features.feature import Feature, FeatureOptions
from dcpi_core.privileged.features.labels import (
    ChannelAttentionLabels,
    FeatureLabels,
    SpatialAttentionLabels,
)
from dcpi_core.privileged.features.presets import PRESETS
from dcpi_core.registry import PRIVILEGED_TYPES

SOURCE = "DCPI paper, attention labels (arXiv 2410.01611)"


class AttentionOptions(FeatureOptions):
    """Options of feature labels, and how their maps are pooled.

    A student's loss has no task term: a classifier cannot read a pooled map. While whole maps are
    learned, that of Eq. 4 acts on them, with ``label_task_weight``.
    """

    pooling: Pooling = Field("average", description="how a map is pooled")
    learned_form: Literal["map", "pooled"] = Field(
        "map", description="learn whole maps and pool them at the end, or learn pooled values"
    )
    task_weight: float = Field(0.0, ge=0, le=0, description="not for attention labels")


class _Attention(Feature):
    def __init__(self, options: AttentionOptions) -> None:
        super().__init__(options)
        self.attention = options

    @property
    def learned_form(self) -> Form:
        return self.labels.form if self.attention.learned_form == "pooled" else "map"

    @property
    def pooling(self) -> Pooling:
        return self.attention.pooling


@PRIVILEGED_TYPES.register(
    "attention_spatial", options=AttentionOptions, source=SOURCE, presets=PRESETS
)
class SpatialAttention(_Attention):
    """Where a block's features should be strong: its map pooled over channels."""

    labels: ClassVar[type[FeatureLabels]] = SpatialAttentionLabels


@PRIVILEGED_TYPES.register(
    "attention_channel", options=AttentionOptions, source=SOURCE, presets=PRESETS
)
class ChannelAttention(_Attention):
    """Which of a block's features should be strong: its map pooled over pixels."""

    labels: ClassVar[type[FeatureLabels]] = ChannelAttentionLabels
