"""Losses that networks are trained with. Smaller is better; all are means over the batch."""

import torch
from torch import Tensor
from torch.nn import functional as F


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


def contrast(features: Tensor, target: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """InfoNCE between features and their own targets, those of other classes as negatives.

    Images of the same class are left out of the negatives: they are not to be pushed apart.

    Args:
        features: (B, ...).
        target: same shape.
        labels: (B,) class indices.

    Returns:
        Scalar, mean over the batch; at least 0, and 0 in a batch of one class.
    """
    _require_same_shape("contrast", features, target)
    own, other = (F.normalize(x.flatten(1), dim=1) for x in (features, target))
    similarity = own @ other.t() / temperature
    same_class = labels.unsqueeze(0) == labels.unsqueeze(1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    similarity = similarity.masked_fill(same_class & ~itself, float("-inf"))
    return F.cross_entropy(similarity, torch.arange(len(labels), device=labels.device))


def channel_cross_entropy(features: Tensor, target: Tensor) -> Tensor:
    """Cross entropy between channels of two maps, each read as logits at temperature 1.

    At every pixel the softmax over the target's channels says which should be strong; a map with
    a single channel is read over its pixels instead. Adding a constant to a pixel changes nothing.

    Args:
        features: (B, F, h, w) of the student.
        target: feature labels of the same shape.

    Returns:
        Scalar, mean over batch and pixels; at least the target's entropy, reached when equal.

    Raises:
        ValueError: the shapes differ.
    """
    _require_same_shape("channel_cross_entropy", features, target)
    if features.shape[1] == 1:
        features, target = features.flatten(1), target.flatten(1)
    return F.cross_entropy(features, target.softmax(1))


def _require_same_shape(what: str, a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(f"{what}: shapes {tuple(a.shape)} and {tuple(b.shape)} differ")
