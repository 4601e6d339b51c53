"""The unrolled trajectory: published numbers, plain loops, closed forms."""

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from dcpi_core.networks import build
from dcpi_core.ops.parameters import flatten, unflatten
from dcpi_core.ops.unroll import trajectory_loss

GOLDEN = Path(__file__).parents[2] / "golden"


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())


def test_published_trajectory():
    golden = load_file(GOLDEN / "trajectory.safetensors")
    batches = json.loads((GOLDEN / "trajectory.json").read_text())["batches"]
    network = build("ConvNetD3", 3, 10, 32, width=16).double()
    images, step_size = golden["x_syn"].requires_grad_(), golden["syn_lr"].requires_grad_()
    own = flatten(network.parameters()).detach().clone()
    loss = trajectory_loss(
        network, golden["start"], golden["target"], images, golden["labels"], step_size, batches
    )
    close(loss, golden["loss"].squeeze())
    for_images, for_step = torch.autograd.grad(loss.squeeze(), (images, step_size))
    close(for_images, golden["grad_x"])
    close(for_step, golden["grad_lr"])
    assert torch.equal(flatten(network.parameters()), own)


@pytest.fixture
def small():
    draw = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    count = sum(p.numel() for p in network.parameters())
    start = 0.3 * normal(count)
    return network, start, start + 0.1 * normal(count), normal(6, 1, 2, 2)


def test_it_is_plain_training(small):
    network, start, target, images = small
    labels, batches = torch.tensor([0, 1, 2, 0, 1, 2]), [[0, 1], [2, 3, 4], [5, 0]]
    student = copy.deepcopy(network)
    nn.utils.vector_to_parameters(start.clone(), student.parameters())
    optimiser = torch.optim.SGD(student.parameters(), lr=0.2)
    for batch in batches:
        optimiser.zero_grad()
        F.cross_entropy(student(images[batch]), labels[batch]).backward()
        optimiser.step()
    end = nn.utils.parameters_to_vector(student.parameters()).detach()
    expected = (end - target).square().sum() / (start - target).square().sum()
    found = trajectory_loss(network, start, target, images, labels, 0.2, batches)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    as_tensors = [torch.tensor(batch) for batch in batches]
    again = trajectory_loss(network, start, target, images, labels, 0.2, as_tensors)
    assert torch.equal(again, found)


def test_gradients_against_finite_differences(small):
    network, start, target, images = small
    labels = torch.softmax(torch.randn(6, 3, dtype=torch.float64), 1)
    batches = [[0, 1, 2], [3, 4, 5], [0, 2, 4]]

    def loss(images, labels, step_size):
        return trajectory_loss(network, start, target, images, labels, step_size, batches)

    step_size = torch.tensor(0.3, dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (images, labels, step_size)]
    assert torch.autograd.gradcheck(loss, inputs)


def test_no_step_leaves_the_whole_distance(small):
    network, start, target, images = small
    labels = torch.zeros(6, dtype=torch.int64)
    assert float(trajectory_loss(network, start, target, images, labels, 0.1, [])) == 1
    for step in (0.0, torch.zeros(())):
        assert float(trajectory_loss(network, start, target, images, labels, step, [[0, 1]])) == 1


def test_arriving_costs_nothing(small):
    network, start, _, images = small
    labels = torch.zeros(6, dtype=torch.int64)
    parameters = list(unflatten(start.clone().requires_grad_(), network).values())
    logits = torch.func.functional_call(
        network, dict(zip(dict(network.named_parameters()), parameters, strict=True)), (images,)
    )
    step = flatten(torch.autograd.grad(F.cross_entropy(logits, labels), parameters))
    there = start - 0.5 * step
    loss = trajectory_loss(network, start, there, images, labels, 0.5, [range(6)])
    assert float(loss) < 1e-24


def test_refusals(small):
    network, start, target, images = small
    labels = torch.zeros(6, dtype=torch.int64)
    with pytest.raises(ValueError, match="does not fit a network of 43 parameters"):
        trajectory_loss(network, start[:-1], target[:-1], images, labels, 0.1, [[0]])
    with_statistics = build("ConvNetD1BN", 1, 3, 2, width=4)
    with pytest.raises(ValueError, match="running statistics"):
        trajectory_loss(with_statistics, start, target, images, labels, 0.1, [[0]])


class TestParameters:
    def test_there_and_back(self):
        network = build("ConvNetD2", 3, 4, 8, width=4)
        vector = flatten(network.parameters())
        pieces = unflatten(vector, network)
        for name, parameter in network.named_parameters():
            assert torch.equal(pieces[name], parameter)
        assert torch.equal(flatten(pieces.values()), vector)

    def test_pieces_are_views(self):
        network = nn.Linear(2, 3)
        vector = torch.zeros(9)
        unflatten(vector, network)["bias"].fill_(1)
        assert vector.tolist() == [0] * 6 + [1] * 3

    @pytest.mark.parametrize("shape", [(8,), (10,), (9, 1)])
    def test_wrong_vectors(self, shape):
        with pytest.raises(ValueError, match="does not fit"):
            unflatten(torch.zeros(shape), nn.Linear(2, 3))
