"""IDM against a plain transcription in double precision; its queue; sets of small images."""

import pytest
import torch
from torch.nn import functional as F

from dcpi_core.checkpoint import load_tensors, pack, save_tensors, unpack
from dcpi_core.methods.matching.base import accuracy_of, network_at
from dcpi_core.methods.matching.idm import IDM, IDMOptions, coast
from dcpi_core.ops.partition import tiles_of
from dcpi_core.ops.siamese import OPERATIONS, siamese_draw
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.training import Recipe, fit
from tests.core.problems import CLASSES, blobs, context

SMALL = {"iterations": 4, "real_batch": 7, "queue_start": 2, "training_steps": 2}


@pytest.fixture
def ctx(tmp_path):
    return context(blobs(), tmp_path)


def test_one_step_is_the_published_loop(ctx):
    """One optimiser over all images, a step of it after every class.

    Written out in the same precision: a ReLU whose input is within rounding of zero opens in one
    and not in another, and its pixels then move otherwise.
    """
    method = IDM(IDMOptions(**SMALL))
    state = method.init(ctx)
    method.step(state, 0, ctx)
    number = 1
    images = state.images.clone().requires_grad_()
    optimiser = torch.optim.SGD([images], lr=0.2, momentum=0.5)
    optimiser.state[images]["momentum_buffer"] = state.velocity.clone()
    choice = ctx.streams.generator("queue_choice", number)
    index = int(torch.randint(len(state.seen), (), generator=choice))
    network = network_at(state, index, ctx).eval()
    accuracy = 100 * accuracy_of(state, index)
    loss = method.step(state, number, ctx)["loss"]

    total = 0.0
    for label in range(CLASSES):
        draw = siamese_draw(OPERATIONS, ctx.streams.generator("siamese", label, number))
        real = draw.apply(ctx.real_batch(label, 7, number))
        own = draw.apply(tiles_of(images[2 * label : 2 * label + 2], 2))
        wanted = network.features(real).detach().flatten(1).mean(0)
        found = network.features(own)
        class_loss = ((found.flatten(1).mean(0) - wanted) ** 2).sum()
        targets = torch.full((8,), label)
        class_loss = class_loss + 0.5 * accuracy * F.cross_entropy(network.classify(found), targets)
        optimiser.zero_grad(set_to_none=False)
        class_loss.backward()
        optimiser.step()
        total += float(class_loss.detach())

    assert loss == pytest.approx(total, rel=1e-3)
    torch.testing.assert_close(state.images, images.detach(), rtol=1e-3, atol=1e-3)


def test_networks_in_the_queue_learn(ctx):
    method = IDM(IDMOptions(**(SMALL | {"training_steps": 8, "new_network_every": 1000})))
    state = method.init(ctx)
    metrics = [method.step(state, number, ctx) for number in range(2)]
    assert metrics[0]["network_accuracy"] == 0  # nothing was measured yet
    assert max(h / s for h, s in zip(state.hits, state.seen, strict=True) if s) > 0.6


def test_accuracies_are_counted_anew_as_often_as_published_code_evaluates(ctx):
    method = IDM(IDMOptions(**(SMALL | {"accuracy_steps": 3, "new_network_every": 1000})))
    state = method.init(ctx)
    seen, told = [], []
    for number in range(6):
        told.append(method.step(state, number, ctx)["network_accuracy"])
        seen.append(sum(state.seen))
    own = seen[0]  # of one step
    assert seen == [own, 2 * own, 3 * own, own, 2 * own, 3 * own]
    assert told[3] == 0  # before any network has trained again
    assert max(told) > 0


def test_training_is_sgd_with_momentum_and_decay(ctx):
    """Two trainings of two batches each are one optimiser's four steps."""
    method = IDM(IDMOptions(**(SMALL | {"queue_start": 1, "new_network_every": 1000})))
    state = method.init(ctx)
    reference = network_at(state, 0, ctx)
    method.step(state, 0, ctx)  # pushes a second network and trains both
    optimiser = torch.optim.SGD(reference.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    method.step(state, 1, ctx)
    for number in range(2):
        for step in range(2):
            draw = ctx.streams.generator("queue_batch", number, 0, step)
            order = torch.randperm(len(ctx.train), generator=draw)[:256]
            optimiser.zero_grad()
            F.cross_entropy(reference(ctx.normalised(order)), ctx.train.labels[order]).backward()
            optimiser.step()
    found = network_at(state, 0, ctx)
    for a, b in zip(found.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_momenta_find_their_parameters_after_a_restart(ctx, tmp_path):
    """A file lists tensors by the alphabet; no network is pushed that would restore the order."""
    method = IDM(IDMOptions(**(SMALL | {"new_network_every": 1000})))
    whole, part = method.init(ctx), method.init(ctx)
    for number in range(2):
        method.step(whole, number, ctx)
    method.step(part, 0, ctx)
    save_tensors(tmp_path / "state", *pack(part))
    resumed = unpack(method.state_type, *load_tensors(tmp_path / "state"))
    method.step(resumed, 1, ctx)
    for kept in ("weights", "momenta"):
        found, wanted = getattr(resumed, kept), getattr(whole, kept)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_the_oldest_networks_go_first(ctx):
    method = IDM(
        IDMOptions(**(SMALL | {"queue_length": 3, "new_network_every": 1, "networks_trained": 0}))
    )
    state = method.init(ctx)
    for number in range(4):
        method.step(state, number, ctx)
    assert len(state.seen) == 3
    name = next(iter(state.weights))
    for position, number in enumerate((1, 2, 3)):
        fresh = ctx.fresh_network("queue", number).state_dict()[name]
        assert torch.equal(state.weights[name][position], fresh)


def test_coasting_is_stepping_without_gradients():
    images, velocity = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3).double()
    slow, v = images, velocity
    for _ in range(5):
        v = 0.5 * v
        slow = slow - 0.2 * v
    found, left = coast(images, velocity, 5, 0.2, 0.5)
    torch.testing.assert_close(found, slow)
    torch.testing.assert_close(left, v)
    assert torch.equal(coast(images, velocity, 0, 0.2, 0.5)[0], images)


def test_every_tile_starts_from_another_real_image(ctx):
    images = IDM(IDMOptions()).init(ctx).images
    tiles = images.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    assert len({tuple(tile.flatten().tolist()) for tile in tiles}) == 4 * 2 * CLASSES


def test_students_train_on_the_tiles(ctx):
    method = IDM(IDMOptions(**SMALL))
    condensed = method.finish(method.init(ctx), ctx)
    seen = condensed.as_seen()
    assert (len(condensed), len(seen), seen.partition) == (6, 24, 1)
    assert seen.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    recipe, networks = Recipe(epochs=2), [ctx.fresh_network("student", 0) for _ in "ab"]
    for network, trained_on in zip(networks, (condensed, seen), strict=True):
        fit(network, trained_on, recipe, runtime=ctx.runtime)
    for a, b in zip(*(n.parameters() for n in networks), strict=True):
        assert torch.equal(a, b)


def test_published_settings_by_dataset_and_budget():
    entry = load_catalog().method("idm")

    def options(dataset, count):
        found = entry.option_defaults()
        for preset in entry.presets:
            if preset.applies(None, dataset, "idm", count):
                found |= preset.options
        names = ("real_batch", "new_network_every", "class_weight", "training_steps")
        return (*(found[name] for name in names), found["accuracy_steps"])

    for dataset in ("cifar10", "an upload"):
        assert options(dataset, 1) == (5000, 5, 0.5, 10, 100)
        assert options(dataset, 10) == (256, 30, 0.5, 10, 100)
        assert options(dataset, 50) == (256, 30, 0.1, 10, 500)
    assert options("cifar100", 1) == (5000, 5, 0.5, 10, 100)
    assert options("cifar100", 10) == (256, 30, 0.1, 50, 100)
    assert options("cifar100", 50) == (256, 30, 0.1, 10, 500)
    assert options("tiny_imagenet", 1) == (256, 30, 0.5, 10, 100)
    assert options("tiny_imagenet", 10) == (256, 30, 0.5, 10, 500)
    assert options("tiny_imagenet", 50) == (256, 30, 0.8, 50, 1000)
