"""LeNet-5 with ReLU and max pooling (LeCun et al., 1998)."""

import math

from torch import nn

from dcpi_core.networks.base import ZOO, Inputs, Network
from dcpi_core.registry import NETWORKS
from dcpi_core.spec.base import Options


@NETWORKS.register("LeNet", source=ZOO, facts={"family": "LeNet", "fixed": {}})
class LeNet(Network):
    """Two 5x5 convolutions with max pooling, three linear layers, no normalisation.

    Published for 32 x 32; other sizes get a first linear layer of the size they need.
    """

    def __init__(self, inputs: Inputs, options: Options) -> None:
        inputs.require(16, "LeNet")
        padding = inputs.extra_padding
        first = [(side - 4) // 2 for side in inputs.padded_size]
        second = [(side - 4) // 2 for side in first]
        shapes = [(6, first[0], first[1]), (16, second[0], second[1])]
        blocks = [
            nn.Sequential(
                nn.Conv2d(inputs.channels, 6, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2)
            ),
            nn.Sequential(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        ]
        classifier = nn.Sequential(
            nn.Linear(math.prod(shapes[-1]), 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, inputs.num_classes),
        )
        super().__init__(inputs, blocks, shapes, classifier)
