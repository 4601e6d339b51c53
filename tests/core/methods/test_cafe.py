"""CAFE against one graph over all classes, in double precision; its watched loops."""

import pytest
import torch
from torch.nn import functional as F

from dcpi_core.methods.matching.cafe import CAFE, CAFEOptions, spread_of
from dcpi_core.ops.siamese import OPERATIONS, siamese_draw
from tests.core.problems import CLASSES, blobs, context


@pytest.fixture
def ctx(tmp_path):
    return context(blobs(), tmp_path, network="ConvNetD3")


@pytest.mark.parametrize("augmentation", ["none", "dsa"])
def test_one_update_is_the_published_objective(ctx, augmentation):
    options = CAFEOptions(
        iterations=10, outer_loops=1, real_batch=7, augmentation=augmentation, init="real"
    )
    method = CAFE(options)
    state = method.init(ctx)
    before = state.images.double().requires_grad_()
    loss = method.step(state, 1, ctx)["loss"]

    network = ctx.fresh_network("network", 1).double()
    real, own = [], []
    for label in range(CLASSES):
        draw = siamese_draw(OPERATIONS, ctx.streams.generator("siamese", label, 1))
        pair = ctx.real_batch(label, 7, 1).double(), before[2 * label : 2 * label + 2]
        pair = [draw.apply(x) for x in pair] if augmentation == "dsa" else pair
        real.append(pair[0])
        own.append(pair[1])
    theirs, ours = (everything(network, torch.cat(side)) for side in (real, own))
    total = torch.zeros((), dtype=torch.float64)
    for weight, a, b in zip((0.1, 0.1, 1, 1, 1), theirs, ours, strict=True):
        for x, y in zip(a.detach().split(7), b.split(2), strict=True):
            total = total + weight * ((x.mean(0) - y.mean(0)) ** 2).sum()
    centres = torch.stack([part.mean(0) for part in ours[-1].split(2)])
    labels = torch.arange(CLASSES).repeat_interleave(7)
    logits = theirs[-1].detach() @ centres.t()
    total = total + 0.01 * F.cross_entropy(logits, labels, reduction="sum")
    (gradient,) = torch.autograd.grad(total, before)

    assert loss == pytest.approx(float(total.detach()), rel=1e-4)
    moved = 10 * (before.detach() - state.images.double())
    torch.testing.assert_close(moved, gradient, rtol=1e-3, atol=1e-3 * float(gradient.abs().max()))


def everything(network, images):
    """Three activations, the last map after its pooling, and the same as a vector."""
    found = []
    for convolution, norm, activation, pooling in network.blocks:
        images = activation(norm(convolution(images)))
        found.append(images)
        images = pooling(images)
    return [*found, images, images.flatten(1)]


def test_a_window_is_looked_at_when_it_is_full():
    assert spread_of([0.1, 0.5], 3) is None
    assert spread_of([0.9, 0.1, 0.2, 0.4], 3) == pytest.approx(0.3)


def updates(ctx, **options):
    small = {"iterations": 1, "real_batch": 7, "inner_epochs": 1, "window": 2, "outer_loops": 6}
    method = CAFE(CAFEOptions(**(small | options)))
    state = method.init(ctx)
    made = [method.step(state, number, ctx) for number in range(method.total_steps(ctx))]
    assert len(made) == 6
    return sum("loss" in found for found in made)


def test_a_network_serves_until_its_accuracy_settles(ctx):
    assert updates(ctx, settled=1.0) == 2  # as soon as the window is full
    assert updates(ctx, settled=0.0) == 6  # never: the bound holds


@pytest.mark.parametrize(("learned", "epochs"), [(0.0, 3), (1.0, 7)])
def test_training_ends_when_something_was_learned_or_at_the_bound(
    ctx, monkeypatch, learned, epochs
):
    method = CAFE(CAFEOptions(inner_epochs=7, window=3, learned=learned, real_batch=7))
    rising, seen = iter(range(100)), []

    def accuracy(self, network, position, epoch, ctx):
        seen.append(epoch)
        return 0.01 * next(rising)

    monkeypatch.setattr(CAFE, "_accuracy", accuracy)
    method._train(ctx.fresh_network("network", 0), method.init(ctx), 0, ctx)
    assert len(seen) == epochs


def test_the_learning_rate_is_halved_three_times(ctx):
    rates = []
    for number in (0, 5, 6, 8, 9):
        method = CAFE(CAFEOptions(iterations=10, outer_loops=1, real_batch=7))
        state = method.init(ctx)
        before = state.images
        method.step(state, number, ctx)
        rates.append(float(((before - state.images) / state.velocity).nanmedian()))
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.025, 0.0125], rel=1e-2)
