"""Losses: closed forms, agreement with torch where it has the same loss, refusals."""

import math

import pytest
import torch
from torch.nn import functional as F

from dcpi_core.ops.losses import feature_error, soft_cross_entropy


def normal(*shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64)


class TestSoftCrossEntropy:
    def test_one_hot_labels_are_hard_labels(self):
        logits, labels = normal(6, 4), torch.tensor([0, 1, 2, 3, 3, 0])
        one_hot = F.one_hot(labels, 4).double()
        torch.testing.assert_close(
            soft_cross_entropy(logits, one_hot), F.cross_entropy(logits, labels)
        )

    def test_lowest_at_the_labels_and_there_their_entropy(self):
        labels = torch.softmax(normal(5, 3), 1)
        entropy = -(labels * labels.log()).sum(1).mean()
        at_best = labels.log().requires_grad_()
        loss = soft_cross_entropy(at_best, labels)
        torch.testing.assert_close(loss, entropy)
        (gradient,) = torch.autograd.grad(loss, at_best)
        assert gradient.abs().max() < 1e-12
        assert soft_cross_entropy(normal(5, 3, seed=1), labels) > entropy

    def test_uniform_over_k(self):
        found = soft_cross_entropy(torch.zeros(2, 8), torch.full((2, 8), 1 / 8))
        assert float(found) == pytest.approx(math.log(8))

    def test_huge_logits_stay_finite(self):
        found = soft_cross_entropy(torch.tensor([[1e4, -1e4]]), torch.tensor([[0.5, 0.5]]))
        assert float(found) == pytest.approx(1e4)

    def test_labels_that_are_no_probabilities(self):
        with pytest.raises(ValueError, match="differ"):
            soft_cross_entropy(normal(3, 4), torch.tensor([0, 1, 2]))
        with pytest.raises(ValueError, match="differ"):
            soft_cross_entropy(normal(3, 4), normal(1, 4))


class TestFeatureError:
    def test_mean_over_all_elements(self):
        a = torch.zeros(2, 3, 2, 2)
        b = a.clone()
        b[0, 0, 0, 0] = 12.0
        assert float(feature_error(a, b)) == 144 / 24
        assert float(feature_error(a, a)) == 0

    def test_never_broadcasts(self):
        with pytest.raises(ValueError, match="differ"):
            feature_error(normal(4, 3, 1, 1), normal(4, 3, 2, 2))
