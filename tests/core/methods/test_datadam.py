"""DataDAM against a plain transcription in double precision, image by image."""

import pytest
import torch
from torch import nn

from dcpi_core.methods.matching.datadam import DataDAM, DataDAMOptions, spatial_attention
from dcpi_core.networks import taps
from dcpi_core.ops.siamese import OPERATIONS, siamese_draw
from tests.core.problems import CLASSES, blobs, context


def attention(maps, power):
    """Of one image (F, h, w), position by position."""
    _, height, width = maps.shape
    found = torch.stack(
        [(maps[:, y, x].abs() ** power).sum() for y in range(height) for x in range(width)]
    )
    return found / (found**2).sum().sqrt()


def test_attention_is_its_definition():
    draw = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 5, 2, 4, generator=draw, dtype=torch.float64)
    for power in (1.0, 4.0):
        expected = torch.stack([attention(image, power) for image in maps])
        torch.testing.assert_close(spatial_attention(maps, power), expected)


def test_an_image_that_excites_nothing_has_a_finite_gradient():
    maps = torch.zeros(1, 2, 3, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(spatial_attention(maps, 4.0).sum(), maps)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["ConvNetD2", "ConvNetD2BN", "MLP"])
def test_taps_are_what_enters_the_pooling(tmp_path, name):
    ctx = context(blobs(), tmp_path, network=name)
    network, images = ctx.fresh_network("network", 0), ctx.real_batch(0, 3, 0)
    found = taps(network, images)
    assert len(found.maps) == network.num_layers
    torch.testing.assert_close(found.features, network.features(images))
    if name != "MLP":
        torch.testing.assert_close(nn.AvgPool2d(2)(found.maps[-1]), found.features)
        assert float(found.maps[0].detach().min()) == 0  # after the activation


@pytest.mark.parametrize("name", ["ConvNetD3", "ConvNetD3BN"])
@pytest.mark.parametrize("number", range(2))
def test_one_step_is_the_published_loop(tmp_path, name, number):
    ctx = context(blobs(), tmp_path, network=name)
    method = DataDAM(DataDAMOptions(iterations=2, real_batch=7, feature_weight=0.02))
    state = method.init(ctx)
    before = state.images.double().requires_grad_()
    loss = method.step(state, number, ctx)["loss"]

    network = ctx.fresh_network("network", number).double()
    real, own = [], []
    for label in range(CLASSES):
        draw = siamese_draw(OPERATIONS, ctx.streams.generator("siamese", label, number))
        real.append(draw.apply(ctx.real_batch(label, 7, number).double()))
        own.append(draw.apply(before[2 * label : 2 * label + 2]))
    total = torch.zeros((), dtype=torch.float64)
    places = [activations(network, torch.cat(side)) for side in (real, own)]
    for place, (wanted, found) in enumerate(zip(*places, strict=True)):
        for a, b in zip(wanted.detach().split(7), found.split(2), strict=True):
            if place == 2:
                total = total + 100 * 0.02 * ((a.mean(0) - b.mean(0)) ** 2).sum()
                continue
            means = [torch.stack([attention(x, 4.0) for x in maps]).mean(0) for maps in (a, b)]
            total = total + 100 * ((means[0] - means[1]) ** 2).sum()
    (gradient,) = torch.autograd.grad(total, before)

    assert loss == pytest.approx(float(total.detach()), rel=1e-3)
    expected = before.detach() - gradient
    torch.testing.assert_close(state.images.double(), expected, rtol=1e-3, atol=1e-3)


def activations(network, images):
    """Outputs of the first two activations and the features after the third block."""
    found = []
    for number, (convolution, norm, activation, pooling) in enumerate(network.blocks):
        images = activation(norm(convolution(images)))
        if number < 2:
            found.append(images)
        images = pooling(images)
    return [*found, images]
