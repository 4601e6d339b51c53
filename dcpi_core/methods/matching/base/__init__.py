"""What the methods that learn images by matching have in common."""

from dcpi_core.methods.matching.base.contrast import (
    ONE_PER_CLASS,
    ContrastiveMatching,
    ContrastiveOptions,
)
from dcpi_core.methods.matching.base.features import FeatureMatching, FeatureMatchingOptions
from dcpi_core.methods.matching.base.gradients import (
    GradientMatching,
    GradientMatchingOptions,
    GradientMatchingState,
)
from dcpi_core.methods.matching.base.images import (
    NO_FLIP_FOR_DIGITS,
    AugmentedOptions,
    ImageOptions,
    ImageState,
    descend,
    draw_for,
    initial_images,
    initial_tiles,
)
from dcpi_core.methods.matching.base.pool import Pair, PoolOptions, draw_pair
from dcpi_core.methods.matching.base.queue import (
    QueueOptions,
    QueueState,
    accuracy_of,
    count_anew,
    network_at,
    push,
    train,
)

__all__ = [
    "NO_FLIP_FOR_DIGITS",
    "ONE_PER_CLASS",
    "AugmentedOptions",
    "ContrastiveMatching",
    "ContrastiveOptions",
    "FeatureMatching",
    "FeatureMatchingOptions",
    "GradientMatching",
    "GradientMatchingOptions",
    "GradientMatchingState",
    "ImageOptions",
    "ImageState",
    "Pair",
    "PoolOptions",
    "QueueOptions",
    "QueueState",
    "accuracy_of",
    "count_anew",
    "descend",
    "draw_for",
    "draw_pair",
    "initial_images",
    "initial_tiles",
    "network_at",
    "push",
    "train",
]
