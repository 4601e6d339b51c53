"""DSA against a plain transcription in double precision; what it shares with DC and what not."""

import pytest
import torch
from torch.nn import functional as F

from dcpi_core.condensed import CondensedSet
from dcpi_core.matching import train_between_updates
from dcpi_core.methods.matching.dc import DC, DCOptions
from dcpi_core.methods.matching.dsa import DSA, DSAOptions
from dcpi_core.ops.distances import gradient_distance
from dcpi_core.ops.siamese import OPERATIONS, siamese_draw
from dcpi_core.spec.catalog import load_catalog
from tests.core.problems import CLASSES, blobs, context


@pytest.fixture
def ctx(tmp_path):
    return context(blobs(), tmp_path)


@pytest.mark.parametrize("number", range(4))
def test_one_step_is_the_published_loop(ctx, number):
    """One class after the other, one change for both batches, one backward pass through all."""
    method = DSA(DSAOptions(iterations=4, real_batch=7))
    state = method.init(ctx)
    before = state.images.double().requires_grad_()
    loss = method.step(state, number, ctx)["loss"]

    network = ctx.fresh_network("network", number).double()
    parameters, total = list(network.parameters()), torch.zeros((), dtype=torch.float64)
    for label in range(CLASSES):
        draw = siamese_draw(OPERATIONS, ctx.streams.generator("siamese", label, number))
        real = draw.apply(ctx.real_batch(label, 7, number).double())
        own = draw.apply(before[2 * label : 2 * label + 2])
        targets = torch.full((7,), label)
        wanted = torch.autograd.grad(F.cross_entropy(network(real), targets), parameters)
        found = torch.autograd.grad(
            F.cross_entropy(network(own), targets[:2]), parameters, create_graph=True
        )
        total = total + gradient_distance(found, [g.detach() for g in wanted])
    (gradient,) = torch.autograd.grad(total, before)

    # In float32 a ReLU whose input is within rounding of zero may open where it does not here.
    assert loss == pytest.approx(float(total.detach()), rel=1e-3)
    moved, expected = state.images.double() - before.detach(), -0.1 * gradient
    assert (moved - expected).norm() < 1e-2 * expected.norm()


def test_without_augmentation_it_is_dc(ctx):
    loops = {"iterations": 2, "outer_loops": 2, "real_batch": 7, "init": "noise"}
    dsa, dc = DSA(DSAOptions(augmentation="none", **loops)), DC(DCOptions(**loops))
    ours, theirs = dsa.init(ctx), dc.init(ctx)
    for number in range(4):
        assert dsa.step(ours, number, ctx) == dc.step(theirs, number, ctx)
    assert torch.equal(ours.images, theirs.images)


def test_networks_between_updates_see_augmented_images(ctx):
    condensed = CondensedSet(DSA(DSAOptions()).init(ctx).images, ctx.hard_labels())
    trained = []
    for augmentation in ("none", "dsa"):
        network = ctx.fresh_network("network", 0)
        options, streams = DSAOptions(inner_epochs=3), ctx.streams.child("inner", 0)
        train_between_updates(network, condensed, options, streams, ctx.runtime, augmentation)
        trained.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    assert not torch.equal(*trained)


def test_matching_brings_the_gradients_closer(ctx):
    method = DSA(DSAOptions(iterations=30, init="noise"))
    state = method.init(ctx)
    losses = [method.step(state, number, ctx)["loss"] for number in range(30)]
    assert sum(losses[-8:]) < sum(losses[:8])


def test_published_settings_by_dataset_and_budget():
    entry = load_catalog().method("dsa")

    def options(dataset, count):
        found = entry.option_defaults()
        for preset in entry.presets:
            if preset.applies(None, dataset, "dsa", count):
                found |= preset.options
        return found

    ten = options("cifar10", 10)
    assert (ten["init"], ten["image_learning_rate"], ten["image_momentum"]) == ("real", 0.1, 0.5)
    assert (ten["iterations"], ten["outer_loops"], ten["inner_epochs"]) == (1000, 10, 50)
    assert (ten["augmentation"], ten["real_batch"]) == ("dsa", 256)
    assert options("svhn", 1)["augmentation"] == "dsa_no_flip"
