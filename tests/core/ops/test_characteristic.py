"""The distance of characteristic functions against its definition, closed forms and autograd."""

import math

import pytest
import torch

from dcpi_core.ops.characteristic import characteristic, characteristic_distance


def draws(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def defined(syn, real, frequencies, amplitude, phase):
    """One frequency and one complex number at a time."""
    total = 0.0
    for t in frequencies:
        p, q = (torch.exp(1j * (side @ t)).mean() for side in (syn, real))
        first = (p.abs() - q.abs()) ** 2
        second = 2 * (p.abs() * q.abs() - (p * q.conj()).real)
        total = total + (amplitude * first + phase * second).sqrt()
    return total / len(frequencies)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.9, 0.1), (0.0, 1.0)])
def test_value_and_gradients_are_those_of_the_definition(weights):
    sides = [draws(4, 3), draws(7, 3, seed=1), draws(5, 3, seed=2)]
    found, expected = ([x.clone().requires_grad_() for x in sides] for _ in "ab")
    a = characteristic_distance(*found, *weights)
    b = defined(*expected, *weights)
    torch.testing.assert_close(a, b)
    for x, y in zip(torch.autograd.grad(a, found), torch.autograd.grad(b, expected), strict=True):
        torch.testing.assert_close(x, y)


def test_gradients_numerically():
    sides = [
        draws(4, 3).requires_grad_(),
        draws(7, 3, seed=1),
        draws(5, 3, seed=2).requires_grad_(),
    ]
    assert torch.autograd.gradcheck(characteristic_distance, sides)


def test_equal_weights_measure_the_length_of_the_difference():
    """|P|^2 + |Q|^2 - 2 Re P conj(Q) = |P - Q|^2."""
    syn, real, frequencies = draws(4, 3), draws(7, 3, seed=1), draws(5, 3, seed=2)
    p, q = (torch.complex(*characteristic(side, frequencies)) for side in (syn, real))
    expected = math.sqrt(0.5) * (p - q).abs().mean()
    torch.testing.assert_close(characteristic_distance(syn, real, frequencies), expected)


def test_a_shift_changes_the_phase_and_no_amplitude():
    features, frequencies, shift = draws(6, 3), draws(5, 3, seed=2), draws(3, seed=3)
    moved = features + shift
    spread = characteristic_distance(moved, features, frequencies, 1.0, 1e-12)
    assert float(spread) < 1e-5
    amplitude = torch.hypot(*characteristic(features, frequencies))
    half = (frequencies @ shift / 2).sin().abs()  # |1 - exp(i s)| = 2 |sin(s / 2)|
    found = characteristic_distance(moved, features, frequencies, 0.0, 1.0)
    torch.testing.assert_close(found, (2 * amplitude * half).mean())


def test_of_a_normal_distribution():
    """exp(-|t|^2 / 2), within the error of 20,000 draws."""
    frequencies = draws(5, 2, seed=2)
    real, imaginary = characteristic(draws(20_000, 2), frequencies)
    torch.testing.assert_close(
        real, (-frequencies.square().sum(1) / 2).exp(), rtol=0, atol=4 / math.sqrt(20_000)
    )
    assert float(imaginary.abs().max()) < 4 / math.sqrt(20_000)


def test_equal_features_have_no_distance_and_a_finite_gradient():
    features, frequencies = draws(6, 3).requires_grad_(), draws(5, 3, seed=2)
    distance = characteristic_distance(features, features.detach().flip(0), frequencies)
    assert float(distance.detach()) < 1e-6
    (gradient,) = torch.autograd.grad(distance, features)
    assert bool(torch.isfinite(gradient).all())
