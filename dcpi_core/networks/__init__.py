"""Networks of the literature by name; all give features and classify them."""

from dcpi_core.networks.base import Network
from dcpi_core.networks.factory import build, convnet_depth_for, default_network_name
from dcpi_core.networks.first_order import first_order_features
from dcpi_core.networks.tapped import Taps, taps

__all__ = [
    "Network",
    "Taps",
    "build",
    "convnet_depth_for",
    "default_network_name",
    "first_order_features",
    "taps",
]
