"""NCFM against a slow transcription in double precision; its pool, its schedule, its tiles."""

import pytest
import torch
from torch.nn import functional as F

from dcpi_core.methods.matching.base import PoolOptions, draw_pair
from dcpi_core.methods.matching.ncfm import (
    NCFM,
    NCFMOptions,
    NCFMState,
    Sampler,
    draws_for,
    frequency_network,
    wait_or_slow,
)
from dcpi_core.ops.partition import tiles_of
from dcpi_core.spec.catalog import load_catalog
from tests.core.problems import CLASSES, blobs, context

SMALL = {
    "iterations": 4,
    "real_batch": 7,
    "frequencies": 16,
    "pool_networks": 2,
    "pool_epochs": 2,
}


@pytest.fixture(scope="module")
def ctx(tmp_path_factory):
    return context(blobs(), tmp_path_factory.mktemp("assets"))


def ncfm(**changes):
    return NCFM(NCFMOptions(**(SMALL | changes)))


def discrepancy(own, real, frequencies):
    """300 times the mean over frequencies, one frequency and one complex number at a time."""
    total = 0.0
    for t in frequencies:
        p, q = (torch.exp(1j * (side @ t)).mean() for side in (own, real))
        amplitude = (p.abs() - q.abs()) ** 2
        phase = 2 * (p.abs() * q.abs() - (p * q.conj()).real)
        total = total + (0.5 * amplitude + 0.5 * phase.clamp(min=1e-12)).sqrt()
    return 300 * total / len(frequencies)


class Transcription:
    """Iteration 1 of the published loop from a state, in double precision, by plain autograd."""

    def __init__(self, state, pair, ctx):
        self.ctx, self.trained, self.between = ctx, *(network.double() for network in pair)
        self.images = state.images.double().clamp(0, 1).requires_grad_()
        self.optimiser = torch.optim.SGD([self.images], lr=1e-3, momentum=0.5)
        self.remember(self.optimiser, self.images, state.optimiser["momentum_buffer"])
        self.sampler = frequency_network(512).double()
        self.climber = torch.optim.SGD(self.sampler.parameters(), lr=0.1, momentum=0.5)
        if state.sampler:
            self.sampler.load_state_dict(state.sampler)
            for name, own in self.sampler.named_parameters():
                self.remember(self.climber, own, state.sampler_momenta[name])

    @staticmethod
    def remember(optimiser, parameter, momentum):
        optimiser.state[parameter]["momentum_buffer"] = momentum.double().clone()

    def changed(self, images, label, phase):
        draws = draws_for(label, 1, phase, self.ctx)
        assert [draw.operation for draw in draws] == ["colour", "crop", "cutout"]
        for draw in draws:
            images = draw.apply(images)
        return images

    def shown(self, label, phase):
        mean, std = (torch.tensor(v).double().view(-1, 1, 1) for v in constants(self.ctx))
        tiles = tiles_of(self.images[2 * label : 2 * label + 2], 2)
        return self.changed((tiles - mean) / std, label, phase)

    def discrepancy(self, label, learned):
        real = self.changed(self.ctx.real_batch(label, 7, 1).double(), label, 0)
        own, wanted = (
            self.between.features(images).flatten(1) for images in (self.shown(label, 0), real)
        )
        own, wanted = (x / (x**2).sum(1, keepdim=True).sqrt() for x in (own, wanted.detach()))
        generator = self.ctx.streams.generator("frequencies", label, 1)
        noise = torch.randn(16, 512, generator=generator).double()
        return discrepancy(own, wanted, self.sampler(noise) if learned else noise)

    def match(self, label, learned):
        loss = self.discrepancy(label, learned)
        self.optimiser.zero_grad(set_to_none=False)
        self.climber.zero_grad()
        loss.backward()
        self.optimiser.step()
        if learned:
            for own in self.sampler.parameters():
                own.grad.neg_()
            self.climber.step()
        return float(loss.detach())

    def classify(self, label):
        loss = F.cross_entropy(self.trained(self.shown(label, 1)), torch.full((8,), label))
        self.optimiser.zero_grad(set_to_none=False)
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())


@pytest.mark.parametrize("sampling", ["learned", "normal"])
def test_one_step_is_the_published_loop(ctx, sampling):
    """One optimiser over all images, a step of it after every class, for one loss, then the other.

    By gradient descent, whose steps show every gradient; Adam's hide their size.
    """
    rates = {"image_optimiser": "sgd", "image_learning_rate": 1e-3, "sampling_learning_rate": 0.1}
    method = ncfm(sampling=sampling, **rates)
    state = method.init(ctx)
    method.step(state, 0, ctx)
    state.images[0, 0, 0, 0] = 1.2  # has left the range, as images may after their last step
    plain = Transcription(state, draw_pair(method.options, 1, ctx), ctx)
    metrics = method.step(state, 1, ctx)

    matched = sum(plain.match(label, sampling == "learned") for label in range(CLASSES))
    classified = sum(plain.classify(label) for label in range(CLASSES))
    assert metrics["loss"] == pytest.approx(matched, rel=1e-3)
    assert metrics["classification"] == pytest.approx(classified, rel=1e-3)
    torch.testing.assert_close(state.images.double(), plain.images.detach(), rtol=1e-3, atol=1e-4)
    for name, value in state.sampler.items():
        wanted = plain.sampler.state_dict()[name]
        torch.testing.assert_close(value.double(), wanted, rtol=1e-3, atol=1e-4)


def constants(ctx):
    return ctx.facts.mean, ctx.facts.std


def test_adam_moves_all_images_after_every_class(ctx):
    """A class without a gradient drifts on, so that moving class by class is not moving once."""
    method = ncfm(image_weight_decay=0.0)
    state = method.init(ctx)
    method.step(state, 0, ctx)
    assert int(state.optimiser["step"]) == 2 * CLASSES
    assert state.optimiser["exp_avg"].shape == state.images.shape


def test_frequencies_are_sought_where_the_distributions_differ(ctx):
    """The frequency network's steps alone, images fixed, make the distance grow."""
    method = ncfm(frequencies=64, sampling_learning_rate=1.0)
    sampler = Sampler(method.init(ctx), method.options, ctx)
    network = ctx.fresh_network("network", 0)
    real, other = (ctx.real_batch(label, 7, 0) for label in (0, 1))
    with torch.no_grad():
        features = F.normalize(network.features(real).flatten(1), dim=1)
    found = []
    for _ in range(20):
        loss = method.matching_loss(network, other, features, sampler.frequencies(512, 0, 0))
        sampler.climb(torch.autograd.grad(loss, sampler.parameters))
        found.append(float(loss.detach()))
    assert found[-1] > 1.02 * found[0]


def test_matching_brings_the_distributions_closer(ctx):
    """Images of another class end nearer than a few real images of their own class are."""
    method = ncfm(sampling="normal", class_weight=0.0, real_batch=20, image_learning_rate=0.01)
    state = method.init(ctx)
    network = ctx.fresh_network("network", 0)
    frequencies = torch.randn(64, 512, generator=torch.Generator().manual_seed(0))

    def distance():
        total = 0.0
        for label, images in enumerate(method.finish(state, ctx).images.split(2)):
            with torch.no_grad():
                real = network.features(ctx.real_batch(label, 20, 0)).flatten(1)
                shown = tiles_of(images, 2)
                real = F.normalize(real, dim=1)
                total += float(method.matching_loss(network, shown, real, frequencies))
        return total

    own = distance()
    state.images = state.images.roll(2, 0)
    other = distance()
    for number in range(6):
        method.step(state, number, ctx)
    assert distance() < own < other


def test_the_pool_is_trained_as_published(ctx):
    plans = PoolOptions().plans(ctx)
    assert {(p.batch_size, p.epochs, p.learning_rate, p.falls) for p in plans} == {
        (128, 60, 0.01, (2 / 3, 5 / 6))
    }
    assert [plan.member for plan in plans] == list(range(20))


def test_the_pool_gives_networks_between_their_start_and_their_end(ctx):
    options = PoolOptions(pool_networks=2, pool_epochs=2)
    trained = [ctx.trained_network(plan) for plan in options.plans(ctx)]
    shares = set()
    for number in range(8):
        pair = draw_pair(options, number, ctx)
        (own,) = [
            t for t in trained if torch.equal(t.parameters["classifier.weight"], weight_of(pair[0]))
        ]
        start, end = weight_of(own.untrained(ctx.facts, ctx.runtime)), weight_of(pair.trained)
        share = (weight_of(pair.between) - end).norm() / (start - end).norm()
        torch.testing.assert_close(weight_of(pair.between), torch.lerp(end, start, share))
        shares.add(round(float(share), 3))
    assert len(shares) == 8
    assert 0 <= min(shares) < max(shares) <= 1


def weight_of(network):
    return network.classifier.weight.detach()


def test_the_schedule_is_that_of_torch():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=3)
    state = NCFMState(torch.zeros(1), {}, 1.0, None, 0, {}, {})
    draw = torch.Generator().manual_seed(0)
    rates = set()
    for number in range(60):
        loss = float(1 / (1 + min(number, 30)) + 0.02 * torch.rand((), generator=draw))
        reference.step(loss)
        wait_or_slow(state, loss, 3)
        assert state.rate == optimiser.param_groups[0]["lr"]
        rates.add(state.rate)
    assert len(rates) > 3


def test_images_stay_in_the_range_of_pixels(ctx):
    method = ncfm(image_learning_rate=0.5)
    state = method.init(ctx)
    for number in range(2):
        method.step(state, number, ctx)
    assert float(state.images.max()) > 1  # before they are clamped
    mean, std = constants(ctx)
    pixels = method.finish(state, ctx).images * std[0] + mean[0]
    assert float(pixels.min()) >= -1e-6
    assert float(pixels.max()) <= 1 + 1e-6


def test_every_tile_is_every_other_pixel_of_a_real_image(ctx):
    images = ncfm().finish(ncfm().init(ctx), ctx).images
    tiles = images.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    known = ctx.normalised(torch.arange(len(ctx.train)))[:, :, ::2, ::2]
    distance = (tiles[:, None] - known[None]).abs().amax((2, 3, 4))
    assert float(distance.amin(1).max()) < 1e-5
    assert len(distance.argmin(1).unique()) == 4 * 2 * CLASSES


def test_published_settings_by_dataset_and_budget():
    entry = load_catalog().method("ncfm")
    defaults = entry.option_defaults()
    assert (defaults["iterations"], defaults["real_batch"]) == (20_000, 1024)
    assert (defaults["pool_networks"], defaults["pool_epochs"]) == (20, 60)

    def options(dataset, count, name=None):
        found = entry.option_defaults()
        for preset in entry.presets:
            if preset.applies(name, dataset, "ncfm", count):
                found |= preset.options
        return tuple(found[key] for key in ("image_optimiser", "sampling", "frequencies"))

    assert options("cifar10", 10) == ("adamw", "learned", 1024)
    assert options("cifar100", 10) == ("sgd", "learned", 1024)
    assert options("cifar100", 50) == ("adamw", "learned", 1024)
    assert options("cifar100", 10, "published_code") == ("sgd", "normal", 4096)
