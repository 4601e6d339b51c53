"""Training unrolled: where a student ends up, as a differentiable function of its data."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn import functional as F

from dcpi_core.ops.parameters import unflatten

Indices = Sequence[int] | Tensor
"""Rows of the images that make one batch."""


def trajectory_loss(  # noqa: PLR0913 - all of them make one differentiable function
    network: nn.Module,
    start: Tensor,
    target: Tensor,
    images: Tensor,
    labels: Tensor,
    step_size: Tensor | float,
    batches: Sequence[Indices],
) -> Tensor:
    """How far a student trained on synthetic images ends from an expert (MTT).

    Cazenavette et al., CVPR 2022: the squared distance between the student's parameters after
    plain gradient descent and the expert's, divided by the squared distance between start and
    target. 0 when the student arrives at the target, 1 when it is no nearer than at the start.

    The graphs of all steps are alive until the backward pass.

    Args:
        network: gives the architecture; its own parameters are neither used nor changed.
        start: (P,) the parameters both begin with.
        target: (P,) the expert's parameters some epochs later.
        images: (n, C, H, W); the loss is differentiable in them.
        labels: (n,) class indices or (n, K) probabilities; differentiable in the latter.
        step_size: learning rate of the student; differentiable when a tensor.
        batches: one entry of row indices per step.

    Returns:
        Scalar; not finite when start and target are equal.

    Raises:
        ValueError: a vector does not fit the network, or the network keeps running statistics,
            which a parameter vector does not hold.
    """
    if next(network.buffers(), None) is not None:
        raise ValueError(
            "trajectory_loss: the network keeps running statistics; use one without batch norm"
        )

    def loss(parameters: Tensor, batch: Tensor, wanted: Tensor) -> Tensor:
        logits = functional_call(network, unflatten(parameters, network), (batch,))
        return F.cross_entropy(logits, wanted)

    descent = grad(loss)
    student = start
    for index in batches:
        rows = torch.as_tensor(index, device=images.device)
        student = student - step_size * descent(student, images[rows], labels[rows])
    return (student - target).square().sum() / (start - target).square().sum()
