"""How feature labels are learned: gradients on real images against gradients with labels.

One class at a time, at one network (Eq. 2 to 4). With the images fixed, only the gradients of the
feature extractor depend on the labels, and they are affine in them:
``a + lambda * (2 / m) * J^T (g(x) - f*)``, with J the Jacobian of the features with respect to the
parameters and m the number of label elements. So with v the derivative of the distance, the label
gradient is ``-(2 lambda / m) J v``: one forward-mode pass, no second derivative.
"""

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn import functional as F

from dcpi_core.networks import Layer, Network
from dcpi_core.ops.distances import gradient_distance
from dcpi_core.ops.losses import feature_error
from dcpi_core.ops.pooling import Form, Pooling, pool
from dcpi_core.privileged.features.labels import LABELS_BY_FORM, LabelSettings
from dcpi_core.training import objective


@dataclass(frozen=True)
class LabelTerms:
    """What is being learned, and the weights of Eq. 3 and 4.

    Attributes:
        regression_weight: lambda.
        task_weight: beta; the task term needs whole maps.
        task_matched: beta's term counts inside the matched gradient instead of beside it.
    """

    layer: Layer = "final"
    form: Form = "map"
    pooling: Pooling = "average"
    regression_weight: float = 0.5
    task_weight: float = 0.1
    task_matched: bool = False


class Match(NamedTuple):
    """Distance of the gradients plus task term (detached), and derivatives of the sum.

    ``images`` is None where images are fixed.
    """

    value: Tensor
    labels: Tensor
    images: Tensor | None = None


def match_labels(
    network: Network,
    images: Tensor,
    values: Tensor,
    label: int,
    real: list[Tensor],
    terms: LabelTerms,
) -> Match:
    """Match with fixed images, without a second derivative.

    The caller has opened a ``torch.autograd.forward_ad.dual_level``.

    Args:
        images: (n, C, H, W) of class ``label``.
        values: the labels f*, (n, F, h, w) or pooled as ``terms`` says.
        real: gradient on real images for every parameter, in order.
    """
    targets = torch.full((len(images),), label, device=images.device)
    parameters = dict(network.named_parameters())
    settings = LabelSettings(
        layer=terms.layer,
        pooling=terms.pooling,
        regression_weight=terms.regression_weight,
        task_weight=0.0,
    )
    loss = objective(network, images, targets, [LABELS_BY_FORM[terms.form](values, settings)])
    found = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
    synthetic = [gradient.requires_grad_() for gradient in found]
    distance = gradient_distance(synthetic, real)
    directions = torch.autograd.grad(distance, synthetic, materialize_grads=True)
    moved = _jacobian_vector_product(
        network, images, dict(zip(parameters, directions, strict=True)), terms
    )
    gradient = -2.0 * terms.regression_weight / values.numel() * moved
    task, task_gradient = _task_term(network, values, targets, terms)
    return Match(distance.detach() + task, gradient + task_gradient)


def match_with_images(
    network: Network,
    images: Tensor,
    values: Tensor,
    label: int,
    real: list[Tensor],
    terms: LabelTerms,
) -> Match:
    """The same by double backward.

    For images tuned in one step with their labels, and for Eq. 5 as it stands in print, where the
    task term is part of the matched gradient.
    """
    targets = torch.full((len(images),), label, device=images.device)
    images, values = images.detach().requires_grad_(), values.detach().requires_grad_()
    maps = network.maps(images, {network.layer_number(terms.layer), network.num_layers})
    seen = pool(maps[network.layer_number(terms.layer)], terms.form, terms.pooling)
    loss = F.cross_entropy(network.classify(maps[network.num_layers]), targets)
    loss = loss + terms.regression_weight * feature_error(seen, values)
    task = torch.zeros_like(loss)
    if terms.task_weight and terms.form == "map":
        logits = network.classify(values, terms.layer)
        task = terms.task_weight * F.cross_entropy(logits, targets)
    if terms.task_matched:
        loss, task = loss + task, torch.zeros_like(loss)
    found = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
    total = gradient_distance(found, real) + task
    for_images, for_values = torch.autograd.grad(total, [images, values])
    return Match(total.detach(), for_values, for_images)


class _LabelView(nn.Module):
    """From images to what labels are compared with, to be called functionally."""

    def __init__(self, network: Network, terms: LabelTerms) -> None:
        super().__init__()
        self.network = network
        self.terms = terms

    def forward(self, images: Tensor) -> Tensor:
        number = self.network.layer_number(self.terms.layer)
        return pool(self.network.features(images, number), self.terms.form, self.terms.pooling)


def _jacobian_vector_product(
    network: Network, images: Tensor, directions: dict[str, Tensor], terms: LabelTerms
) -> Tensor:
    """Derivative of the features along a direction in parameter space.

    Needs an open ``forward_ad.dual_level``. ``torch.func.jvp`` would open one by itself, but one
    per process is all there may be, and the classes of a step are differentiated side by side.
    """
    # A functional call swaps the module's parameters for a moment; other threads use the original.
    view = _LabelView(copy.deepcopy(network), terms)
    duals = {
        f"network.{name}": forward_ad.make_dual(value.detach(), directions[name])
        for name, value in network.named_parameters()
    }
    features = functional_call(view, duals, (images,))
    value, tangent = forward_ad.unpack_dual(features)
    return torch.zeros_like(value) if tangent is None else tangent


def _task_term(
    network: Network, values: Tensor, targets: Tensor, terms: LabelTerms
) -> tuple[Tensor, Tensor]:
    """Eq. 4, weighted, and its gradient with respect to the labels."""
    if not terms.task_weight or terms.form != "map":
        return values.new_zeros(()), torch.zeros_like(values)
    values = values.detach().requires_grad_()
    logits = network.classify(values, terms.layer)
    task = terms.task_weight * F.cross_entropy(logits, targets)
    (gradient,) = torch.autograd.grad(task, values)
    return task.detach(), gradient
