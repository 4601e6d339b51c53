"""Networks of the literature by name; all give features and classify them."""

from dcpi_core.networks.base import FeatureShape, Layer, Network
from dcpi_core.networks.factory import build
from dcpi_core.networks.first_order import first_order_features, first_order_maps
from dcpi_core.networks.tapped import Taps, taps

__all__ = [
    "FeatureShape",
    "Layer",
    "Network",
    "Taps",
    "build",
    "first_order_features",
    "first_order_maps",
    "taps",
]
