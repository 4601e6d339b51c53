"""A trained layer from a student's features to labels that were made by another network.

The label is the fixed side. Mapping the label to the student instead would let both shrink to
nothing. The layer is trained with the student, by the same optimiser, and thrown away afterwards.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcpi_core.networks.base import FeatureShape


class Alignment(nn.Module):
    """Brings features (n, S, h, w) and labels (n, L, h', w') to one shape.

    The larger map is averaged down to the smaller one; a 1 x 1 convolution maps the channels. As
    many channels do not make them the same ones; only spatial attention, which has one, needs no
    convolution.
    """

    def __init__(self, student: FeatureShape, label: FeatureShape) -> None:
        super().__init__()
        self.size = (min(student[1], label[1]), min(student[2], label[2]))
        spatial = student[0] == label[0] == 1
        self.channels = nn.Identity() if spatial else nn.Conv2d(student[0], label[0], 1)

    def forward(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Features in label space and labels, of the same shape."""
        small = [
            x if x.shape[2:] == torch.Size(self.size) else F.adaptive_avg_pool2d(x, self.size)
            for x in (features, labels)
        ]
        return self.channels(small[0]), small[1]
