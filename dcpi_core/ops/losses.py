"""Losses that networks are trained with. Smaller is better; all are means over the batch."""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F


class Weights(NamedTuple):
    """Weights of the terms that privileged labels add: lambda and beta of the paper."""

    regression: float
    task: float = 0.0


def soft_cross_entropy(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Cross entropy with given class probabilities, at temperature 1.

    Its lowest value is the entropy of ``probabilities``, reached when the softmax equals them.

    Args:
        logits: (B, K).
        probabilities: (B, K), rows summing to one.

    Returns:
        Scalar, mean over the batch.

    Raises:
        ValueError: the shapes differ, e.g. because hard labels were given.
    """
    _require_same_shape("soft_cross_entropy", logits, probabilities)
    return -(probabilities * F.log_softmax(logits, dim=1)).sum(1).mean()


def feature_error(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over all elements; 0 when equal.

    Args:
        features: (B, ...) of the student.
        target: feature labels of the same shape; never broadcast.

    Returns:
        Scalar.

    Raises:
        ValueError: the shapes differ.
    """
    _require_same_shape("feature_error", features, target)
    return (features - target).square().mean()


def privileged_objective(
    logits: Tensor,
    labels: Tensor,
    features: Tensor,
    feature_labels: Tensor,
    label_logits: Tensor | None,
    weights: Weights,
) -> Tensor:
    """Training with feature labels, Eq. 5 of the paper: CE + lambda * MSE + beta * CE(h(f*)).

    Args:
        logits: (B, K) of the student.
        labels: (B,) class indices, or (B, K) probabilities.
        features: (B, ...) of the student at the layer of the labels.
        feature_labels: f*, of the same shape.
        label_logits: (B, K), the student's classifier on f*; needed only when beta is not 0.
        weights: lambda and beta.

    Returns:
        Scalar.

    Raises:
        ValueError: shapes do not match, or beta is not 0 and ``label_logits`` is missing.
    """
    total = F.cross_entropy(logits, labels)
    total = total + weights.regression * feature_error(features, feature_labels)
    if weights.task == 0:
        return total
    if label_logits is None:
        raise ValueError("privileged_objective: the task term needs label_logits")
    return total + weights.task * F.cross_entropy(label_logits, labels)


def _require_same_shape(what: str, a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(f"{what}: shapes {tuple(a.shape)} and {tuple(b.shape)} differ")
