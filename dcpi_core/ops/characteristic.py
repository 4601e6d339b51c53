"""Characteristic functions of feature distributions, and their distance.

The characteristic function of a distribution, ``Phi(t) = E exp(i <t, z>)``, determines it. Seen at
many frequencies t it compares whole distributions, where a mean compares one moment.
"""

import torch
from torch import Tensor

SMALLEST_PHASE_TERM = 1e-12
"""Published: keeps the square root away from zero, where it has no derivative."""


def characteristic(features: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Empirical characteristic function of a batch.

    Args:
        features: (n, d).
        frequencies: (m, d).

    Returns:
        Real and imaginary parts of the mean of ``exp(i <t, z>)``, (m,) each.
    """
    phases = frequencies @ features.t()
    return phases.cos().mean(1), phases.sin().mean(1)


def characteristic_distance(
    syn: Tensor,
    real: Tensor,
    frequencies: Tensor,
    amplitude_weight: float = 0.5,
    phase_weight: float = 0.5,
) -> Tensor:
    """Mean distance of two characteristic functions (Wang et al., CVPR 2025).

    At each frequency the square root of
    ``amplitude_weight * (|P| - |Q|)^2 + phase_weight * 2 (|P| |Q| - Re P conj(Q))``. With equal
    weights that is ``|P - Q|`` up to a factor; the amplitude says how spread the features are, the
    phase where they lie. It is 0 when the functions agree (but for ``SMALLEST_PHASE_TERM``).

    Args:
        syn: (n, d) features of synthetic images; differentiable in them and in the frequencies.
        real: (m, d) features of real images.
        frequencies: (k, d).
        amplitude_weight: 0 or more.
        phase_weight: above 0.

    Returns:
        Scalar.
    """
    a, b = characteristic(syn, frequencies)
    c, d = characteristic(real, frequencies)
    own, wanted = torch.hypot(a, b), torch.hypot(c, d)
    phase = (2 * (own * wanted - a * c - b * d)).clamp(min=SMALLEST_PHASE_TERM)
    return (amplitude_weight * (own - wanted).square() + phase_weight * phase).sqrt().mean()
