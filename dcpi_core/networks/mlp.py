"""A perceptron with two hidden layers."""

from pydantic import Field
from torch import nn

from dcpi_core.networks.base import ZOO, Inputs, Network
from dcpi_core.registry import NETWORKS
from dcpi_core.spec.base import Options


class MLPOptions(Options):
    """The published network has 128 units in each hidden layer."""

    width: int = Field(128, ge=1, le=8192, description="units of each hidden layer")


@NETWORKS.register("MLP", options=MLPOptions, source=ZOO, facts={"family": "MLP", "fixed": {}})
class MLP(Network):
    """Two hidden layers with ReLU and no normalisation; features are (width, 1, 1)."""

    def __init__(self, inputs: Inputs, options: MLPOptions) -> None:
        shape = (options.width, 1, 1)
        units = inputs.channels * inputs.height * inputs.width
        blocks = []
        for fan_in in (units, options.width):
            linear = nn.Linear(fan_in, options.width)
            blocks.append(nn.Sequential(nn.Flatten(), linear, nn.ReLU(), nn.Unflatten(1, shape)))
        classifier = nn.Linear(options.width, inputs.num_classes)
        super().__init__(inputs, blocks, [shape, shape], classifier)
