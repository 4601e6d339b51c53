import pytest
import torch
from torch.nn import functional as F

from dcpi_core.methods.matching.dc import DC, DCOptions
from dcpi_core.ops.distances import gradient_distance
from tests.core.problems import CLASSES, blobs, context


@pytest.fixture
def ctx(tmp_path):
    return context(blobs(), tmp_path)


def test_one_step_is_the_published_loop(ctx):
    """Against a plain transcription: one class after the other, one backward pass through all."""
    method = DC(DCOptions(iterations=1, real_batch=7))
    state = method.init(ctx)
    before = state.images.clone().requires_grad_()
    loss = method.step(state, 0, ctx)["loss"]

    network = ctx.fresh_network("network", 0)
    parameters, total = list(network.parameters()), torch.zeros(())
    for label in range(CLASSES):
        real, own = ctx.real_batch(label, 7, 0), before[2 * label : 2 * label + 2]
        targets = torch.full((7,), label)
        wanted = torch.autograd.grad(F.cross_entropy(network(real), targets), parameters)
        found = torch.autograd.grad(
            F.cross_entropy(network(own), targets[:2]), parameters, create_graph=True
        )
        total = total + gradient_distance(found, [g.detach() for g in wanted])
    (gradient,) = torch.autograd.grad(total, before)

    assert loss == pytest.approx(float(total.detach()), rel=1e-4)
    expected = before.detach() - 0.1 * gradient
    torch.testing.assert_close(state.images, expected, rtol=1e-3, atol=1e-5)


def test_momentum_is_that_of_sgd(ctx):
    method = DC(DCOptions(iterations=1))
    state = method.init(ctx)
    reference = state.images.clone().requires_grad_()
    optimiser = torch.optim.SGD([reference], lr=0.1, momentum=0.5)
    for number in range(3):
        before = state.images
        velocity = state.velocity
        method.step(state, number, ctx)
        reference.grad = state.velocity - 0.5 * velocity
        optimiser.step()
        torch.testing.assert_close(state.images, reference.detach(), rtol=1e-5, atol=1e-6)
        assert not torch.equal(before, state.images)


def test_matching_brings_the_gradients_closer(ctx):
    method = DC(DCOptions(iterations=30, init="real", image_learning_rate=0.1))
    state = method.init(ctx)
    losses = [method.step(state, number, ctx)["loss"] for number in range(30)]
    assert sum(losses[-5:]) < sum(losses[:5])


def test_the_network_lives_from_one_update_to_the_next(ctx):
    method = DC(DCOptions(iterations=2, outer_loops=2, inner_epochs=1))
    state = method.init(ctx)
    method.step(state, 0, ctx)
    fresh = ctx.fresh_network("network", 0).state_dict()
    assert any(not torch.equal(state.network[name], fresh[name]) for name in fresh)
    method.step(state, 1, ctx)
    assert state.network == {}  # the next step starts from a new network


def test_starts_from_noise_or_from_real_images(ctx):
    noise = DC(DCOptions()).init(ctx).images
    assert float(noise.std()) == pytest.approx(1, abs=0.1)
    real = DC(DCOptions(init="real")).init(ctx).images
    everything = ctx.normalised(torch.arange(len(ctx.train)))
    assert all(any(torch.equal(image, candidate) for candidate in everything) for image in real)
