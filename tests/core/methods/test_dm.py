"""DM: published numbers, and a plain transcription in double precision."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dcpi_core.compute import Runtime
from dcpi_core.methods.matching.dm import DM, DMOptions
from dcpi_core.networks import build
from dcpi_core.ops.siamese import OPERATIONS, siamese_draw
from dcpi_core.spec.catalog import load_catalog
from tests.core.problems import CLASSES, blobs, context

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture
def ctx(tmp_path):
    return context(blobs(), tmp_path)


def test_golden_loss_and_gradient(ctx):
    golden = load_file(GOLDEN / "matching.safetensors")
    order = json.loads((GOLDEN / "trajectory.json").read_text())["param_order"]
    network = build("ConvNetD3", 3, 10, 32, width=16).double()
    for parameter, name in zip(network.parameters(), order, strict=True):
        parameter.data.copy_(golden[f"param.{name}"])
    method, images = DM(DMOptions()), golden["x_syn"].requires_grad_()
    targets = method.real_means(network, [golden["x_real"]], ctx)
    loss = method.distance(network, [images], targets)
    torch.testing.assert_close(loss, golden["dm_loss"].squeeze(), rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(loss, images)
    largest = float(golden["dm_grad_x"].abs().max())
    torch.testing.assert_close(gradient, golden["dm_grad_x"], rtol=1e-6, atol=1e-6 * largest)


@pytest.mark.parametrize("network_name", ["ConvNetD2", "ConvNetD2BN"])
@pytest.mark.parametrize("number", range(3))
def test_one_step_is_the_published_loop(tmp_path, network_name, number):
    """All classes after one another, or in one batch where the norm looks at the whole batch."""
    ctx = context(blobs(), tmp_path, network=network_name)
    method = DM(DMOptions(iterations=4, real_batch=7))
    state = method.init(ctx)
    before = state.images.double().requires_grad_()
    loss = method.step(state, number, ctx)["loss"]

    network = ctx.fresh_network("network", number).double()
    draws = [
        siamese_draw(OPERATIONS, ctx.streams.generator("siamese", label, number))
        for label in range(CLASSES)
    ]
    real = [d.apply(ctx.real_batch(c, 7, number).double()) for c, d in enumerate(draws)]
    own = [d.apply(x) for d, x in zip(draws, before.split(2), strict=True)]
    if network_name.endswith("BN"):
        wanted = network.features(torch.cat(real)).detach().flatten(1).split(7)
        found = network.features(torch.cat(own)).flatten(1).split(2)
    else:
        wanted = [network.features(x).detach().flatten(1) for x in real]
        found = [network.features(x).flatten(1) for x in own]
    total = torch.zeros((), dtype=torch.float64)
    for a, b in zip(wanted, found, strict=True):
        total = total + ((a.sum(0) / 7 - b.sum(0) / 2) ** 2).sum()
    (gradient,) = torch.autograd.grad(total, before)

    assert loss == pytest.approx(float(total.detach()), rel=1e-4)
    expected = before.detach() - gradient
    torch.testing.assert_close(state.images.double(), expected, rtol=1e-3, atol=1e-4)


def test_pieces_of_the_real_batch_change_nothing(ctx, tmp_path):
    method, network = DM(DMOptions()), ctx.fresh_network("network", 0)
    batch = [ctx.real_batch(0, 20, 0)]
    pieces = context(blobs(), tmp_path)
    object.__setattr__(pieces, "runtime", Runtime(torch.device("cpu"), 1, 3))
    torch.testing.assert_close(
        method.real_means(network, batch, ctx), method.real_means(network, batch, pieces)
    )


def test_matching_brings_the_means_closer(ctx):
    method = DM(DMOptions(iterations=30, init="noise"))
    state = method.init(ctx)
    losses = [method.step(state, number, ctx)["loss"] for number in range(30)]
    assert sum(losses[-8:]) < 0.7 * sum(losses[:8])


def test_published_settings_by_dataset_and_budget():
    entry = load_catalog().method("dm")
    defaults = entry.option_defaults()
    assert (defaults["iterations"], defaults["real_batch"]) == (20_000, 256)
    assert (defaults["init"], defaults["image_learning_rate"]) == ("real", 1.0)
    rates = [p for p in entry.presets if "image_learning_rate" in p.options]
    assert [p.applies(None, "cifar10", "dm", n) for p in rates for n in (50, 100)] == [False, True]
