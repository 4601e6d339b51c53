"""What every network offers: features of each block, and the classifier that reads the last."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import create_model
from torch import Tensor, nn

from dcpi_core.spec.base import Options
from dcpi_core.spec.dataset import padded_size
from dcpi_core.spec.errors import InvalidInput

Layer = Literal["first", "second", "final"]
"""A block by name, which means something in every network."""

FeatureShape = tuple[int, int, int]
"""(F, h, w) of one image's features."""

ZOO = "network zoo of Zhao et al., ICLR 2021 (arXiv 2006.05929)"


@dataclass(frozen=True)
class Inputs:
    """What a network is built for."""

    channels: int
    num_classes: int
    height: int
    width: int

    @property
    def padded_size(self) -> tuple[int, int]:
        """(height, width) after the extra padding."""
        return padded_size(self.channels, self.height, self.width)

    @property
    def extra_padding(self) -> int:
        """Added to the first convolution's on each side."""
        return (self.padded_size[0] - self.height) // 2

    def require(self, smallest: int, network: str) -> None:
        """Refuse images that would have shrunk to nothing inside the network.

        Raises:
            InvalidInput: a side is shorter than ``smallest``.
        """
        if min(self.padded_size) < smallest:
            raise InvalidInput(
                f"{network} needs images of at least {smallest} x {smallest} pixels, "
                f"not {self.height} x {self.width}"
            )


class Network(nn.Module):
    """Blocks that make features, and a classifier on the flattened features of the last.

    There is no in-place operation and no branch on data, so that a network works under
    ``torch.func.functional_call``, ``vmap``, double backward and compilation. Weights start from
    torch's default initialisation, drawn in the order of the parameters.

    Attributes:
        in_channels: channels of the images.
        num_classes: number of logits.
        image_size: (height, width) of the images.
        num_layers: number of blocks.
    """

    def __init__(
        self,
        inputs: Inputs,
        blocks: Sequence[nn.Module],
        shapes: Sequence[FeatureShape],
        classifier: nn.Module,
    ) -> None:
        super().__init__()
        self.in_channels = inputs.channels
        self.num_classes = inputs.num_classes
        self.image_size = (inputs.height, inputs.width)
        self.num_layers = len(blocks)
        self.blocks = nn.Sequential(*blocks)
        self.classifier = classifier
        self._shapes = tuple(shapes)

    def features(self, x: Tensor, layer: int | None = None) -> Tensor:
        """Output of a block, after its pooling.

        Args:
            x: (B, C, H, W).
            layer: 1 for the first block; default: the last.

        Returns:
            (B, F, h, w).

        Raises:
            InvalidInput: there is no such block.
        """
        last = self._layer(layer)
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number == last:
                break
        return x

    def maps(self, x: Tensor, layers: Collection[int]) -> dict[int, Tensor]:
        """Outputs of several blocks from one pass, by number; see ``features``."""
        found = {}
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number in layers:
                found[number] = x
        return found

    def classify(self, features: Tensor, layer: Layer = "final") -> Tensor:
        """Logits (B, K) from the features (B, F, h, w) of a block, by default the last."""
        last: Tensor = self.blocks[self.layer_number(layer) :](features)
        logits: Tensor = self.classifier(last.flatten(1))
        return logits

    def last_inputs(self, features: Tensor) -> Tensor:
        """What the last linear layer reads, (B, D), from the features (B, F, h, w)."""
        flat = features.flatten(1)
        if not isinstance(self.classifier, nn.Sequential):
            return flat
        read: Tensor = self.classifier[:-1](flat)
        return read

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        return self.classify(self.features(x))

    def feature_shape(self, layer: int | None = None) -> FeatureShape:
        """(F, h, w) of one image's features, known without computing them.

        Raises:
            InvalidInput: there is no such block.
        """
        return self._shapes[self._layer(layer) - 1]

    def layer_number(self, layer: Layer) -> int:
        """Number of the block that a layer's name stands for.

        Raises:
            InvalidInput: the network has no second block.
        """
        numbers = {"first": 1, "second": 2, "final": self.num_layers}
        return self._layer(numbers[layer])

    def _layer(self, layer: int | None) -> int:
        if layer is None:
            return self.num_layers
        if not 1 <= layer <= self.num_layers:
            raise InvalidInput(
                f"layer {layer} does not exist; this network has layers 1 to {self.num_layers}"
            )
        return layer


def with_fixed(name: str, options: type[Options], fixed: dict[str, Any]) -> type[Options]:
    """The options of a variant whose name already states some of them.

    A stated option keeps its place with one allowed value, so ``ConvNetD4`` with ``depth=3`` is
    refused instead of silently being something else than its name says.
    """
    if not fixed:
        return options
    fields: dict[str, Any] = {key: (Literal[value], value) for key, value in fixed.items()}
    return create_model(f"{name}Options", __base__=options, **fields)
