"""DCC: dataset condensation with contrastive signals (Lee et al., ICML 2022).

The published code normalises CIFAR-100 with the constants of CIFAR-10; here every dataset has its
own.
"""

from typing import Literal

from pydantic import Field

from dcpi_core.matching import PUBLISHED_LOOPS
from dcpi_core.methods.matching.base import ONE_PER_CLASS, ContrastiveMatching, ContrastiveOptions
from dcpi_core.registry import METHODS


class DCCOptions(ContrastiveOptions):
    """The published settings."""

    init: Literal["noise", "real"] = Field("real", description="what the images start from")


@METHODS.register(
    "dcc",
    options=DCCOptions,
    source="Lee et al., ICML 2022 (arXiv 2202.02916)",
    presets=(*PUBLISHED_LOOPS, ONE_PER_CLASS),
)
class DCC(ContrastiveMatching):
    """Learns images whose training gradient over all classes together is that of the real data."""
