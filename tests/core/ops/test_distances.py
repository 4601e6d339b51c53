"""Distances: published numbers, closed forms, and a literal transcription of the formula."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.func import vmap
from torch.nn import functional as F

from dcpi_core.networks import build
from dcpi_core.ops.distances import gradient_distance, mean_feature_distance

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN / "matching.safetensors")


@pytest.fixture(scope="module")
def network(golden):
    order = json.loads((GOLDEN / "trajectory.json").read_text())["param_order"]
    network = build("ConvNetD3", 3, 10, 32, width=16).double()
    for parameter, name in zip(network.parameters(), order, strict=True):
        parameter.data.copy_(golden[f"param.{name}"])
    return network


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())


class TestGolden:
    def test_gradient_matching(self, golden, network):
        x = golden["x_syn"].requires_grad_()
        parameters = list(network.parameters())

        def gradient(images, create_graph):
            labels = golden["label"].expand(len(images))
            loss = F.cross_entropy(network(images), labels)
            return torch.autograd.grad(loss, parameters, create_graph=create_graph)

        loss = gradient_distance(gradient(x, True), gradient(golden["x_real"], False))
        close(loss, golden["dc_loss"].squeeze())
        close(torch.autograd.grad(loss, x)[0], golden["dc_grad_x"])

    def test_mean_features(self, golden, network):
        x = golden["x_syn"].requires_grad_()
        loss = mean_feature_distance(network.features(x), network.features(golden["x_real"]))
        close(loss, golden["dm_loss"].squeeze())
        close(torch.autograd.grad(loss, x)[0], golden["dm_grad_x"])


def transcribed(syn, real):
    """Section 2.5 of the dossier, one row at a time."""
    total = 0.0
    for a, b in zip(syn, real, strict=True):
        if a.ndim == 1:
            continue
        for row_a, row_b in zip(a.reshape(len(a), -1), b.reshape(len(b), -1), strict=True):
            norms = row_a.square().sum().sqrt() * row_b.square().sum().sqrt()
            total += 1 - float(row_a @ row_b) / (float(norms) + 1e-6)
    return total


shapes = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=0, max_size=5)


@given(shapes, st.integers(0, 2**20), st.sampled_from([1e-4, 1.0, 1e3]))
@settings(max_examples=60, deadline=None)
def test_gradient_distance_is_its_formula(extra, seed, scale):
    draw = torch.Generator().manual_seed(seed)
    every = [[3, 2], *extra]
    syn, real = (
        [scale * torch.randn(s, generator=draw, dtype=torch.float64) for s in every] for _ in "ab"
    )
    found = float(gradient_distance(syn, real))
    assert found == pytest.approx(transcribed(syn, real), rel=1e-9, abs=1e-9)
    rows = sum(s[0] for s in every if len(s) > 1)
    assert 0 <= found <= 2 * rows


class TestGradientDistance:
    def test_direction_alone_counts(self):
        rows = torch.tensor([[3.0, 4.0], [1.0, 0.0]], dtype=torch.float64)
        far = 1e-6 / (5 * 50 + 1e-6) + 1e-6 / (1 * 10 + 1e-6)
        assert float(gradient_distance([rows], [10 * rows])) == pytest.approx(far, rel=1e-6)
        assert float(gradient_distance([rows], [-rows])) == pytest.approx(4, rel=1e-5)
        turned = torch.tensor([[-4.0, 3.0], [0.0, 1.0]], dtype=torch.float64)
        assert float(gradient_distance([rows], [turned])) == pytest.approx(2)

    def test_vectors_cost_nothing(self):
        matrix, vector = torch.eye(2), torch.tensor([1.0, 2.0])
        base = gradient_distance([matrix], [matrix])
        assert torch.equal(gradient_distance([matrix, vector], [matrix, -vector]), base)

    def test_a_layer_norm_weight_has_a_row_per_channel(self):
        a = torch.zeros(3, 2, 2)
        a[:, 0, 0] = 1
        b = torch.zeros(3, 2, 2)
        b[:, 1, 1] = 1
        assert float(gradient_distance([a], [b])) == pytest.approx(3)

    def test_dead_rows_cost_one_and_have_a_finite_gradient(self):
        syn = torch.tensor([[0.0, 0.0], [1.0, 1.0]], requires_grad=True)
        real = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
        distance = gradient_distance([syn], [real])
        assert float(distance.detach()) == 2
        (gradient,) = torch.autograd.grad(distance, syn)
        assert torch.isfinite(gradient).all()

    def test_it_can_be_differentiated_twice(self):
        draw = torch.Generator().manual_seed(0)
        a, b = (torch.randn(3, 4, generator=draw, dtype=torch.float64) for _ in "ab")
        assert torch.autograd.gradgradcheck(
            lambda x: gradient_distance([x], [b]), a.requires_grad_()
        )

    def test_vmap_is_a_loop(self):
        draw = torch.Generator().manual_seed(0)
        a, b = torch.randn(5, 3, 4, generator=draw), torch.randn(5, 3, 4, generator=draw)
        found = vmap(lambda x, y: gradient_distance([x], [y]))(a, b)
        alone = torch.stack([gradient_distance([x], [y]) for x, y in zip(a, b, strict=True)])
        torch.testing.assert_close(found, alone)

    @pytest.mark.parametrize(
        ("syn", "real", "words"),
        [
            ([torch.eye(2)], [torch.eye(2), torch.eye(2)], "zip"),
            ([torch.ones(1, 2)], [torch.ones(3, 2)], "differ"),
            ([torch.ones(3)], [torch.ones(4)], "differ"),
            ([torch.ones(3)], [torch.ones(3)], "none of the tensors"),
            ([], [], "none of the tensors"),
        ],
    )
    def test_refusals(self, syn, real, words):
        with pytest.raises(ValueError, match=words):
            gradient_distance(syn, real)


class TestMeanFeatureDistance:
    def test_closed_form(self):
        syn = torch.tensor([[0.0, 0.0], [2.0, 4.0]])
        real = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
        assert float(mean_feature_distance(syn, real)) == 4.0
        assert float(mean_feature_distance(syn, syn.flip(0))) == 0.0

    def test_summed_over_all_positions_of_a_map(self):
        maps = torch.ones(2, 3, 4, 5)
        assert float(mean_feature_distance(maps, torch.zeros(7, 3, 4, 5))) == 60.0

    def test_vmap_and_two_derivatives(self):
        draw = torch.Generator().manual_seed(0)
        a = torch.randn(4, 3, 2, generator=draw, dtype=torch.float64, requires_grad=True)
        b = torch.randn(4, 6, 2, generator=draw, dtype=torch.float64)
        found = vmap(mean_feature_distance)(a, b)
        alone = [mean_feature_distance(x, y) for x, y in zip(a, b, strict=True)]
        torch.testing.assert_close(found, torch.stack(alone))
        assert torch.autograd.gradgradcheck(lambda x: mean_feature_distance(x, b[0]), a[0])

    @pytest.mark.parametrize(
        ("syn", "real"),
        [(torch.ones(2, 3), torch.ones(2, 1)), (torch.ones(0, 3), torch.ones(2, 3))],
    )
    def test_refusals(self, syn, real):
        with pytest.raises(ValueError, match="cannot compare"):
            mean_feature_distance(syn, real)
