"""Factorised last-layer gradients against those of autograd, written out in full."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from dcpi_core.ops.last_layer import OuterProducts, errors, last_layer_gradients
from tests.core.ops.naive_selection import normal, written_out


def by_autograd(logits, labels, inputs):
    """(n, C * (D + 1)): one backward pass per image through a linear layer with these logits."""
    found = []
    for row, label, read in zip(logits, labels, inputs, strict=True):
        weight = torch.zeros(len(row), len(read), dtype=torch.float64, requires_grad=True)
        bias = row.double().clone().requires_grad_()
        loss = F.cross_entropy(F.linear(read.double(), weight, bias)[None], label[None])
        slopes = torch.autograd.grad(loss, [weight, bias])
        found.append(torch.cat([slopes[0], slopes[1].unsqueeze(1)], dim=1).flatten())
    return torch.stack(found)


@given(st.integers(1, 9), st.integers(2, 5), st.integers(1, 6), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_products_lengths_and_means(n, classes, width, seed):
    logits, inputs = normal(n, classes, seed=seed), normal(n, width, seed=seed + 1)
    labels = torch.arange(n) % classes
    full = by_autograd(logits, labels, inputs)
    found = last_layer_gradients(logits, labels, inputs)
    torch.testing.assert_close(written_out(found), full)
    torch.testing.assert_close(found.products(torch.arange(n)), full @ full.T)
    torch.testing.assert_close(found.squares, full.square().sum(1))
    torch.testing.assert_close(found.with_mean(), full @ full.mean(0))
    torch.testing.assert_close(written_out(found.unit()), F.normalize(full))


def test_an_image_counts_the_same_in_any_batch():
    """Published code divides by the batch, so that a short last batch counts for more."""
    logits, inputs = normal(300, 4), normal(300, 8, seed=1)
    labels = torch.arange(300) % 4
    whole = last_layer_gradients(logits, labels, inputs).squares
    last = last_layer_gradients(logits[256:], labels[256:], inputs[256:]).squares
    torch.testing.assert_close(whole[256:], last)


def test_confident_rows_keep_their_digits():
    found = errors(torch.tensor([[50.0, 0.0, 0.0]]), torch.tensor([0]))
    torch.testing.assert_close(
        found,
        torch.tensor([[-2.0, 1.0, 1.0]], dtype=torch.float64) * torch.exp(torch.tensor(-50.0)),
    )


@pytest.mark.parametrize("scale", [0.0, 1e-200, 1e-30, 1.0, 1e30])
def test_unit_length_at_every_scale(scale):
    rows = OuterProducts(scale * normal(5, 3), normal(5, 2, seed=1))
    lengths = rows.unit().squares.sqrt()
    torch.testing.assert_close(lengths, torch.full_like(lengths, float(scale > 0)))


def test_many_rows_are_taken_in_parts():
    rows = OuterProducts(normal(9000, 2), normal(9000, 3, seed=1))
    full = written_out(rows)
    torch.testing.assert_close(rows.with_mean(), full @ full.mean(0))
