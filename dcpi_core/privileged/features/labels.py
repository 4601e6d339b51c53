"""Labels for a student's features: what they are compared with, and the terms of the loss.

Eq. 5 of the paper: ``CE(h(g(x)), y) + lambda * MSE(g(x), f*) + beta * CE(h(f*), y)``. The first
term is the student's own; the other two are made here, for whole feature maps of any layer and
for their poolings (attention labels).

A label belongs to an image, not to a view of it: when the protocol flips, shifts or colours an
image, its labels stay as they are and the student learns to see through the change.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcpi_core.compute import sent
from dcpi_core.condensed import PrivilegedLabels, StudentOutput
from dcpi_core.networks import Layer, Network
from dcpi_core.networks.layers import without_remembering
from dcpi_core.ops.losses import channel_cross_entropy, contrast, feature_error
from dcpi_core.ops.pooling import Form, Pooling, pool
from dcpi_core.privileged.features.alignment import Alignment
from dcpi_core.privileged.features.storage import Storage, restore, store
from dcpi_core.rng import Streams
from dcpi_core.spec.errors import InvalidInput


@dataclass(frozen=True)
class LabelSettings:
    """What the labels are about, how they are stored, and what the student's terms weigh."""

    layer: Layer = "final"
    pooling: Pooling = "average"
    storage: Storage = "float32"
    regression_weight: float = 10.0
    task_weight: float = 1.0
    contrast_weight: float = 0.0
    teacher: str = ""
    channel_weight: float | None = None


@dataclass(frozen=True)
class FeatureLabels(PrivilegedLabels):
    """Target features (n, F, h, w) of one layer; (n, N, F, h, w) to pick one of N each time.

    ``values`` are what a bundle's reader will see, whatever they are stored as.
    """

    values: Tensor
    settings: LabelSettings
    alignment: Alignment | None = None

    kind: ClassVar[str] = "feature"
    form: ClassVar[Form] = "map"

    @property
    def layer(self) -> Layer:
        return self.settings.layer

    @property
    def joint(self) -> bool:
        return self.settings.contrast_weight > 0

    def loss(self, output: StudentOutput, labels: Tensor) -> Tensor:
        """Lambda * MSE + beta * CE of the labels themselves + the terms beyond the paper's Eq. 5.

        Raises:
            InvalidInput: the student's features have another shape, and nothing aligns them.
        """
        settings = self.settings
        found = pool(output.at(settings.layer), self.form, settings.pooling)
        target = self.values
        if self.alignment is not None:
            found, target = self.alignment(found, target)
        elif found.shape != target.shape:
            raise InvalidInput(
                f"the student's features are {tuple(found.shape[1:])} but the {self.kind} labels "
                f"are {tuple(target.shape[1:])}; `fit` aligns them, or call for_student first"
            )
        total = settings.regression_weight * feature_error(found, target)
        if settings.task_weight and self._readable(output.network):
            # Running statistics are for images, which are all that a test will show.
            with without_remembering(output.network):
                logits = output.network.classify(self.values, settings.layer)
            total = total + settings.task_weight * F.cross_entropy(logits, labels)
        if settings.contrast_weight:
            total = total + settings.contrast_weight * contrast(found, target, labels)
        if settings.channel_weight:
            total = total + settings.channel_weight * channel_cross_entropy(found, target)
        return total

    def batch(self, index: Tensor) -> Self:
        return replace(self, values=self.values[index])

    def to(self, device: torch.device) -> Self:
        alignment = None if self.alignment is None else self.alignment.to(device)
        return replace(self, values=sent(self.values, device), alignment=alignment)

    def for_student(self, network: Network, streams: Streams) -> Self:
        own = tuple(self.values.shape[-3:])
        shape = pooled_shape(network, self.settings.layer, self.form)
        if shape == own:
            return self
        with streams.initialisation("alignment", self.kind):
            alignment = Alignment(shape, (own[0], own[1], own[2]))
        return replace(self, alignment=alignment.to(self.values.device))

    def for_batch(self, generator: torch.Generator) -> Self:
        """One of the N labels of each image, if they were kept apart."""
        if self.values.dim() == 4:
            return self
        count, choices = self.values.shape[:2]
        pick = sent(torch.randint(choices, (count,), generator=generator), self.values.device)
        return replace(self, values=self.values[torch.arange(count, device=pick.device), pick])

    def parameters(self) -> list[nn.Parameter]:
        return [] if self.alignment is None else list(self.alignment.parameters())

    def as_values(self) -> Tensor:
        return self.values

    def with_values(self, values: Tensor) -> Self:
        return replace(self, values=values)

    def stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        # What is None says nothing, and labels without it are stored as they always were.
        own = {name: getattr(self.settings, name) for name in LabelSettings.__dataclass_fields__}
        settings = {name: value for name, value in own.items() if value is not None}
        return store(self.values, self.settings.storage), settings

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Self:
        known = LabelSettings.__dataclass_fields__
        own: dict[str, Any] = {
            name: settings.get(name) if field.default is None else settings[name]
            for name, field in known.items()
        }
        return cls(restore(tensors), LabelSettings(**own))

    def _readable(self, network: Network) -> bool:
        """Whether the student's own layers can go on from the labels."""
        shape = network.feature_shape(network.layer_number(self.settings.layer))
        return self.form == "map" and tuple(self.values.shape[1:]) == shape


@dataclass(frozen=True)
class SpatialAttentionLabels(FeatureLabels):
    """Where features should be strong: maps pooled over their channels, (n, 1, h, w)."""

    kind: ClassVar[str] = "attention_spatial"
    form: ClassVar[Form] = "spatial"


@dataclass(frozen=True)
class ChannelAttentionLabels(FeatureLabels):
    """Which features should be strong: maps pooled over their pixels, (n, F, 1, 1)."""

    kind: ClassVar[str] = "attention_channel"
    form: ClassVar[Form] = "channel"


LABELS_BY_FORM: dict[Form, type[FeatureLabels]] = {
    labels.form: labels
    for labels in (FeatureLabels, SpatialAttentionLabels, ChannelAttentionLabels)
}


def pooled_shape(network: Network, layer: Layer, form: Form) -> tuple[int, int, int]:
    """Shape of one image's labels of this form: (F, h, w), (1, h, w) or (F, 1, 1)."""
    channels, height, width = network.feature_shape(network.layer_number(layer))
    if form == "spatial":
        return 1, height, width
    return (channels, 1, 1) if form == "channel" else (channels, height, width)
