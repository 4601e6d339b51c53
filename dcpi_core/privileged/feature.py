"""Feature labels: target intermediate features f* for each condensed image (the paper's core).

A student trained with them minimises, besides its cross entropy, ``lambda * MSE(g(x), f*)`` and
``beta * CE(h(f*), y)`` (Eq. 5). They are either assigned, the features of a teacher on the image
itself, or learned from there by gradient matching (Eq. 2 to 4).

Our measurements decide the defaults: labels of a teacher that has learned something, weighted
strongly (lambda 10, beta 1), gain far more than the published settings, which stay available as
the preset ``published``.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn import functional as F

from dcpi_core.condensed import CondensedSet, StudentOutput
from dcpi_core.context import Context, Metrics
from dcpi_core.matching import (
    PUBLISHED_LOOPS,
    LoopOptions,
    freeze_batch_norm,
    network_state,
    real_gradients,
    train_between_updates,
)
from dcpi_core.networks import Network
from dcpi_core.ops.distances import gradient_distance
from dcpi_core.ops.losses import feature_error
from dcpi_core.prepared import TrainingPlan
from dcpi_core.privileged.base import TeacherOptions
from dcpi_core.registry import PRIVILEGED_TYPES
from dcpi_core.spec.catalog import Preset
from dcpi_core.spec.errors import InvalidInput
from dcpi_core.training import objective, predict


class FeatureOptions(TeacherOptions, LoopOptions):
    """Weights of the student's terms, the teacher, and how labels are learned if they are."""

    learning: Literal["assigned", "gradient_matching"] = Field(
        "assigned", description="a teacher's features as they are, or learned on from there"
    )
    regression_weight: float = Field(10.0, ge=0, le=1e4, description="lambda of Eq. 5")
    task_weight: float = Field(
        1.0, ge=0, le=1e4, description="beta of Eq. 5, in the student's loss"
    )
    labels_per_image: int = Field(
        1, ge=1, le=16, description="N: teachers whose features are averaged"
    )
    label_init: Literal["teacher", "noise"] = "teacher"
    label_task_weight: float = Field(
        0.1, ge=0, le=1e4, description="beta of Eq. 4 while labels are learned"
    )
    label_learning_rate: float = Field(0.1, gt=0, le=1e4)
    label_momentum: float = Field(0.5, ge=0, lt=1)


@dataclass(frozen=True)
class FeatureLabels:
    """Target features (n, F, h, w) of the last block, and the weights of the student's terms."""

    values: Tensor
    regression_weight: float
    task_weight: float
    teacher: str = ""

    kind = "feature"
    replaces_hard_labels = False

    def loss(self, output: StudentOutput, labels: Tensor) -> Tensor:
        """Lambda * MSE(g(x), f*) + beta * CE(h(f*), y), Eq. 5 without its first term.

        Raises:
            InvalidInput: the student's features have another shape than the labels.
        """
        if output.features.shape[1:] != self.values.shape[1:]:
            raise InvalidInput(
                f"the student's features are {tuple(output.features.shape[1:])} but the feature "
                f"labels are {tuple(self.values.shape[1:])}; train the network they were made for"
            )
        total = self.regression_weight * feature_error(output.features, self.values)
        if self.task_weight:
            logits = output.network.classify(self.values)
            total = total + self.task_weight * F.cross_entropy(logits, labels)
        return total

    def batch(self, index: Tensor) -> "FeatureLabels":
        return replace(self, values=self.values[index])

    def to(self, device: torch.device) -> "FeatureLabels":
        return replace(self, values=self.values.to(device))

    def stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"values": self.values}, {
            "layer": "final",
            "regression_weight": self.regression_weight,
            "task_weight": self.task_weight,
            "teacher": self.teacher,
        }

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> "FeatureLabels":
        return cls(
            tensors["values"],
            settings["regression_weight"],
            settings["task_weight"],
            settings["teacher"],
        )


@dataclass
class FeatureState:
    """Labels as they are, as they were assigned, and the current network while it is trained."""

    values: Tensor
    start: Tensor
    velocity: Tensor
    network: dict[str, Tensor]
    teacher: str
    teacher_accuracy: float


def _published(
    dataset: str | None,
    method: str,
    images: tuple[int, int | None],
    weights: tuple[float, float],
    source: str,
) -> Preset:
    return Preset(
        name="published",
        dataset=dataset,
        base_method=method,
        min_images_per_class=images[0],
        max_images_per_class=images[1],
        options={
            "learning": "gradient_matching",
            "regression_weight": weights[0],
            "label_task_weight": weights[1],
            "task_weight": 0.0,
            "labels_per_image": 1,
            "teacher_epochs": 1,
            "teacher_min_steps": 0,
            "teacher_momentum": 0.0,
            "teacher_weight_decay": 0.0,
        },
        source=source,
    )


_TABLE_8 = "paper, Table 8"
_APPENDIX = "paper, section A.2; there the images are tuned as well"
_PUBLISHED = (
    _published(None, "dc", (1, None), (0.5, 0.1), f"{_TABLE_8}, CIFAR-10 at 10 per class"),
    _published("cifar10", "dc", (1, 9), (1.5, 0.1), _TABLE_8),
    _published("cifar10", "dc", (10, 49), (0.5, 0.1), _TABLE_8),
    _published("cifar10", "dc", (50, None), (0.01, 0.01), _TABLE_8),
    _published("cifar100", "dc", (1, 9), (1.5, 0.1), _TABLE_8),
    _published("cifar100", "dc", (10, 49), (0.001, 0.005), _TABLE_8),
    _published("cifar100", "dc", (50, None), (0.5, 0.1), _TABLE_8),
    *(
        _published(dataset, method, (1, None), (weight, 0.001), _APPENDIX)
        for method in ("random", "herding", "k_center", "forgetting")
        for dataset, weight in ((None, 0.5), ("cifar100", 5.0))
    ),
)


@PRIVILEGED_TYPES.register(
    "feature",
    options=FeatureOptions,
    source="DCPI paper, Eq. 1 to 6 (arXiv 2410.01611)",
    presets=(*PUBLISHED_LOOPS, *_PUBLISHED),
)
class Feature:
    """Target features of the last block, assigned from a teacher or learned on from there."""

    labels = FeatureLabels
    state_type = FeatureState

    def __init__(self, options: FeatureOptions) -> None:
        self.options = options

    def needs(self, ctx: Context) -> list[TrainingPlan]:
        if self.options.label_init == "noise":
            return []
        return [self.options.plan(ctx, member) for member in range(self.options.labels_per_image)]

    def total_steps(self, ctx: Context) -> int:
        if self.options.learning == "assigned":
            return 0
        return self.options.iterations * self.options.outer_loops

    def init(self, condensed: CondensedSet, ctx: Context) -> FeatureState:
        plans = self.needs(ctx)
        if plans:
            teachers = [ctx.trained_network(plan) for plan in plans]
            networks = [teacher.network(ctx.facts, ctx.runtime) for teacher in teachers]
            values = torch.stack([_features(n, condensed.images, ctx) for n in networks]).mean(0)
            digest = "+".join(plan.digest(ctx.facts.fingerprint) for plan in plans)
            accuracy = sum(teacher.train_accuracy for teacher in teachers) / len(teachers)
        else:
            shape = (len(condensed), *ctx.fresh_network("label_shape").feature_shape())
            values = torch.randn(shape, generator=ctx.streams.generator("noise_labels"))
            digest, accuracy = "noise", 0.0
        return FeatureState(values, values.clone(), torch.zeros_like(values), {}, digest, accuracy)

    def step(
        self, state: FeatureState, condensed: CondensedSet, number: int, ctx: Context
    ) -> Metrics:
        iteration, update = self.options.position(number)
        network = ctx.fresh_network("label_network", iteration)
        if update:
            network.load_state_dict(state.network)
        freeze_batch_norm(network, number, ctx)
        loss = self._update_labels(state, condensed, network, number, ctx)
        if update < self.options.outer_loops - 1:
            streams = ctx.streams.child("label_inner", number)
            labelled = condensed.with_privileged(self._labels(state.values, state))
            train_between_updates(network, labelled, self.options, streams, ctx.runtime)
            state.network = network_state(network)
        else:
            state.network = {}
        return {"loss": loss, "label_drift": _drift(state)}

    def assigned(self, state: FeatureState) -> FeatureLabels:
        return self._labels(state.start, state)

    def finish(self, state: FeatureState) -> tuple[FeatureLabels, Metrics]:
        metrics = {"teacher_train_accuracy": state.teacher_accuracy, "label_drift": _drift(state)}
        return self._labels(state.values, state), metrics

    def _labels(self, values: Tensor, state: FeatureState) -> FeatureLabels:
        return FeatureLabels(
            values.cpu(), self.options.regression_weight, self.options.task_weight, state.teacher
        )

    def _update_labels(
        self,
        state: FeatureState,
        condensed: CondensedSet,
        network: Network,
        number: int,
        ctx: Context,
    ) -> float:
        options, per_class = self.options, ctx.images_per_class
        images = condensed.images.to(ctx.runtime.device).split(per_class)
        values = state.values.to(ctx.runtime.device).split(per_class)

        def match(label: int) -> tuple[Tensor, Tensor]:
            real = real_gradients(network, label, number, options.real_batch, ctx)
            return match_labels(network, images[label], values[label], label, real, options)

        # One level for all threads: it belongs to the process, not to the thread that opens it.
        with forward_ad.dual_level():
            found = ctx.runtime.map(match, range(ctx.facts.num_classes))
        gradient = torch.cat([label_gradient for _, label_gradient in found]).cpu()
        state.velocity = options.label_momentum * state.velocity + gradient
        state.values = state.values - options.label_learning_rate * state.velocity
        return float(torch.stack([distance for distance, _ in found]).sum())


def match_labels(
    network: Network,
    images: Tensor,
    values: Tensor,
    label: int,
    real: list[Tensor],
    options: FeatureOptions,
) -> tuple[Tensor, Tensor]:
    """Distance between gradients with labels and real gradients, and its label gradient.

    Only the gradients of the feature extractor depend on f*, and they are affine in it:
    ``a + lambda * (2 / m) * J^T (g(x) - f*)`` with J the Jacobian of the features with respect to
    the parameters and m the number of label elements. So with v the derivative of the distance,
    the label gradient is ``-(2 lambda / m) J v``: one forward-mode pass, no second derivative.
    The caller has opened a ``torch.autograd.forward_ad.dual_level``.

    Args:
        images: (n, C, H, W) of class ``label``, fixed.
        values: (n, F, h, w), the labels f*.
        real: gradient on real images for every parameter, in order.

    Returns:
        Matching distance plus the task term of Eq. 4 (detached), and the gradient for ``values``.
    """
    targets = torch.full((len(images),), label, device=images.device)
    parameters = dict(network.named_parameters())
    labels = FeatureLabels(values, options.regression_weight, task_weight=0.0)
    loss = objective(network, images, targets, [labels])
    found = torch.autograd.grad(loss, list(parameters.values()))
    synthetic = [gradient.requires_grad_() for gradient in found]
    distance = gradient_distance(synthetic, real)
    directions = torch.autograd.grad(distance, synthetic, materialize_grads=True)
    moved = _jacobian_vector_product(
        network, images, dict(zip(parameters, directions, strict=True))
    )
    gradient = -2.0 * options.regression_weight / values.numel() * moved
    task, task_gradient = _task_term(network, values, targets)
    weight = options.label_task_weight
    return distance.detach() + weight * task, gradient + weight * task_gradient


class _FeatureMap(nn.Module):
    """The feature extractor as a module of its own, so that it can be called functionally."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.features(images)


def _jacobian_vector_product(
    network: Network, images: Tensor, directions: dict[str, Tensor]
) -> Tensor:
    """Derivative of the features along a direction in parameter space.

    Needs an open ``forward_ad.dual_level``. ``torch.func.jvp`` would open one by itself, but one
    per process is all there may be, and the classes of a step are differentiated side by side.
    """
    # A functional call swaps the module's parameters for a moment; other threads use the original.
    extractor = _FeatureMap(copy.deepcopy(network))
    duals = {
        f"network.{name}": forward_ad.make_dual(value.detach(), directions[name])
        for name, value in network.named_parameters()
    }
    features = functional_call(extractor, duals, (images,))
    value, tangent = forward_ad.unpack_dual(features)
    return torch.zeros_like(value) if tangent is None else tangent


def _task_term(network: Network, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 4 and its gradient with respect to the labels."""
    values = values.detach().requires_grad_()
    task = F.cross_entropy(network.classify(values), targets)
    (gradient,) = torch.autograd.grad(task, values)
    return task.detach(), gradient


def _features(network: Network, images: Tensor, ctx: Context) -> Tensor:
    return torch.cat([found for found, _ in predict(network, iter([images]), ctx.runtime)]).cpu()


def _drift(state: FeatureState) -> float:
    """How far learning moved the labels, relative to their size."""
    moved = (state.values - state.start).square().mean().sqrt()
    return float(moved / state.start.square().mean().sqrt())
