"""DC: dataset condensation with gradient matching (Zhao, Mopuri, Bilen; ICLR 2021).

Published code updates the images once more after evaluating them; here the images that are
evaluated are the images that are saved.
"""

from dcpi_core.matching import PUBLISHED_LOOPS
from dcpi_core.methods.matching.base import GradientMatching, GradientMatchingOptions
from dcpi_core.registry import METHODS


class DCOptions(GradientMatchingOptions):
    """Gradient matching with the published defaults."""


@METHODS.register(
    "dc",
    options=DCOptions,
    source="Zhao, Mopuri, Bilen, ICLR 2021 (arXiv 2006.05929)",
    presets=PUBLISHED_LOOPS,
)
class DC(GradientMatching):
    """Learns images whose training gradients match, class by class, those of the real data."""
