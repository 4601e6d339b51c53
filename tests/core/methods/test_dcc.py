"""DCC and DSAC against one graph over all classes, in double precision; the warm-up."""

import pytest
import torch
from torch.nn import functional as F

from dcpi_core.methods.matching.dc import DC, DCOptions
from dcpi_core.methods.matching.dcc import DCC, DCCOptions
from dcpi_core.methods.matching.dsa import DSA, DSAOptions
from dcpi_core.methods.matching.dsac import DSAC, DSACOptions
from dcpi_core.ops.distances import gradient_distance
from dcpi_core.ops.siamese import OPERATIONS, siamese_draw
from dcpi_core.spec.catalog import load_catalog
from tests.core.problems import CLASSES, blobs, context

AFTER_WARMUP = {"warmup_networks": 0, "real_batch": 7, "iterations": 3}


@pytest.fixture
def ctx(tmp_path):
    return context(blobs(), tmp_path)


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("number", range(2))
def test_one_step_is_the_published_loop(ctx, augmented, number):
    """The gradient of the mean loss over all classes, in one graph."""
    method = DSAC(DSACOptions(**AFTER_WARMUP)) if augmented else DCC(DCCOptions(**AFTER_WARMUP))
    state = method.init(ctx)
    before = state.images.double().requires_grad_()
    loss = method.step(state, number, ctx)["loss"]

    network = ctx.fresh_network("network", number).double()
    parameters, wanted, own = list(network.parameters()), [], []
    for label in range(CLASSES):
        draw = siamese_draw(OPERATIONS, ctx.streams.generator("siamese", label, number))
        real = ctx.real_batch(label, 7, number).double()
        part = before[2 * label : 2 * label + 2]
        real, part = (draw.apply(real), draw.apply(part)) if augmented else (real, part)
        targets = torch.full((7,), label)
        wanted.append(torch.autograd.grad(F.cross_entropy(network(real), targets), parameters))
        own.append(part)
    mean = [sum(same) / CLASSES for same in zip(*wanted, strict=True)]
    together = F.cross_entropy(network(torch.cat(own)), ctx.hard_labels())
    found = torch.autograd.grad(together, parameters, create_graph=True)
    total = gradient_distance(found, mean)
    (gradient,) = torch.autograd.grad(total, before)

    assert loss == pytest.approx(float(total.detach()), rel=1e-4)
    moved = 10 * (before.detach() - state.images.double())
    torch.testing.assert_close(moved, gradient, rtol=1e-3, atol=1e-3 * float(gradient.abs().max()))


@pytest.mark.parametrize(
    ("contrastive", "plain"),
    [
        (DCC(DCCOptions(real_batch=7)), DC(DCOptions(real_batch=7, init="real"))),
        (DSAC(DSACOptions(real_batch=7)), DSA(DSAOptions(real_batch=7))),
    ],
)
def test_the_warm_up_is_class_wise_matching(ctx, contrastive, plain):
    ours, theirs = contrastive.init(ctx), plain.init(ctx)
    assert contrastive.step(ours, 0, ctx) == plain.step(theirs, 0, ctx)
    assert torch.equal(ours.images, theirs.images)


def test_the_warm_up_ends_by_network_and_by_update(ctx):
    """Class-wise only for the first updates of the first networks."""
    options = DCCOptions(
        outer_loops=3, inner_epochs=0, warmup_networks=2, warmup_updates=1, real_batch=7
    )
    method, plain = DCC(options), DC(DCOptions(outer_loops=3, inner_epochs=0, real_batch=7))
    images = method.init(ctx).images
    classwise = []
    for number in range(9):
        network = ctx.fresh_network("network", number // 3)
        ours, _ = method.image_gradient(images, network, number, ctx)
        theirs, _ = plain.image_gradient(images, network, number, ctx)
        classwise.append(ours == theirs)
    assert classwise == [True, False, False, True, False, False, False, False, False]


@pytest.mark.parametrize("name", ["dcc", "dsac"])
def test_published_loops(name):
    entry = load_catalog().method(name)
    for count, loops in ((1, (10, 5)), (10, (10, 50)), (50, (50, 10))):
        found = entry.option_defaults()
        for preset in entry.presets:
            if preset.applies(None, "cifar10", name, count):
                found |= preset.options
        assert (found["outer_loops"], found["inner_epochs"]) == loops
        assert (found["init"], found["warmup_networks"], found["warmup_updates"]) == (
            "real",
            250,
            10,
        )
