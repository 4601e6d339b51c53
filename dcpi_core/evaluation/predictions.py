"""What a student's predictions are worth beyond their accuracy."""

import torch
from torch import Tensor

CALIBRATION_BINS = 15


def confusion_matrix(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Counts (K, K): row the true class, column the predicted one.

    Args:
        predicted: (n,) class numbers.
        labels: (n,) class numbers.
    """
    cells = labels * num_classes + predicted
    return cells.bincount(minlength=num_classes**2).view(num_classes, num_classes)


def expected_calibration_error(
    probabilities: Tensor, labels: Tensor, bins: int = CALIBRATION_BINS
) -> float:
    """How far confidence and accuracy lie apart, in [0, 1]; 0 is calibrated (Guo et al., 2017).

    Images are put into ``bins`` of equal width by the probability of the predicted class; the
    error is the mean over images of ``|accuracy of the bin - mean confidence of the bin|``.

    Args:
        probabilities: (n, K), rows sum to 1.
        labels: (n,) class numbers.
    """
    confidence, predicted = probabilities.double().max(1)
    right = (predicted == labels).double()
    # Bin b holds confidences in (b / bins, (b + 1) / bins], as published.
    position = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
    gap = torch.zeros(bins, dtype=torch.float64).index_add(0, position, right - confidence)
    return float(gap.abs().sum() / len(labels))
