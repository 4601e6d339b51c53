"""Selection rules as their definitions read, with every vector and every sum written out."""

import torch
from torch.nn import functional as F

ROUNDING = 1e-12
"""Scores closer than this are ties, which go to the lowest index."""


def normal(n, d, seed=0, dtype=torch.float64):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def written_out(vectors):
    """(n, p * q) of an ``OuterProducts``."""
    return (vectors.left.double().unsqueeze(2) * vectors.right.double().unsqueeze(1)).flatten(1)


def greedy(size, count, value):
    """Pick, again and again, what makes ``value(picked)`` largest."""
    picked = []
    while len(picked) < count:
        free = [i for i in range(size) if i not in picked]
        values = {i: float(value([*picked, i])) for i in free}
        best = max(values.values())
        slack = ROUNDING * max(1.0, abs(best))
        picked.append(min(i for i in free if values[i] >= best - slack))
    return picked


def facility_location(similarity, count):
    return greedy(len(similarity), count, lambda s: similarity[:, s].amax(1).sum())


def graph_cut(similarity, count, redundancy=None):
    def value(s):
        weight = len(similarity) / (2 * len(s)) if redundancy is None else redundancy
        return similarity[:, s].sum() - weight * similarity[s][:, s].sum()

    return greedy(len(similarity), count, value)


def cosine_similarity(vectors):
    unit = F.normalize(vectors, eps=1e-300)
    return ((1 + unit @ unit.T) / 2).fill_diagonal_(1)


def craig(gradients, count):
    """Smallest sum of distances to the nearest pick."""
    apart = (gradients.unsqueeze(1) - gradients.unsqueeze(0)).norm(dim=2)
    return greedy(len(gradients), count, lambda s: -apart[:, s].amin(1).sum())


def gradmatch(gradients, count, ridge):
    """Orthogonal matching pursuit on the full vectors."""
    mean = gradients.mean(0)
    strength = ridge * gradients.square().sum(1).mean()
    residual, picked = mean, []
    while len(picked) < count:
        picked = greedy_next(picked, gradients @ residual)
        own = gradients[picked].T
        gram = own.T @ own + strength * torch.eye(len(picked), dtype=own.dtype)
        residual = mean - own @ torch.linalg.solve(gram, own.T @ mean)
    return picked


def glister(logits, labels, inputs, validation, count, step):
    """Really take the step of each pick on a last layer and measure the slope anew."""
    classes, width = logits.shape[1], inputs.shape[1]
    weight = torch.zeros(classes, width + 1, dtype=torch.float64)
    one = torch.ones(len(inputs), 1, dtype=torch.float64)
    rows = torch.cat([inputs, one], 1)
    own = torch.stack(
        [
            slope(weight, logits[i : i + 1], labels[i : i + 1], rows[i : i + 1])
            for i in range(len(rows))
        ]
    )
    there = torch.cat([validation.inputs, one.new_ones(len(validation.inputs), 1)], 1)
    picked = []
    while len(picked) < count:
        wanted = slope(weight, validation.logits, validation.labels, there)
        picked = greedy_next(picked, (own * wanted).sum((1, 2)))
        weight = weight - step * own[picked[-1]]
    return picked


def slope(change, logits, labels, rows):
    """Gradient of the mean cross entropy with respect to a change of the last layer."""
    change = change.clone().requires_grad_()
    loss = F.cross_entropy(logits + rows @ change.T, labels)
    return torch.autograd.grad(loss, change)[0]


def greedy_next(picked, scores):
    free = [i for i in range(len(scores)) if i not in picked]
    best = max(float(scores[i]) for i in free)
    slack = ROUNDING * max(1.0, float(scores.abs().max()))
    return [*picked, min(i for i in free if float(scores[i]) >= best - slack)]
