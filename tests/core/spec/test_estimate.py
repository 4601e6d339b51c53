import pytest

from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.dataset import DatasetFacts, License
from dcpi_core.spec.errors import InvalidInput
from dcpi_core.spec.estimate import estimate
from dcpi_core.spec.job import JobRequest
from dcpi_core.spec.resolve import resolve


def facts(channels, height, width):
    return DatasetFacts(
        name="shapes",
        title="images of one shape",
        classes=("round", "square"),
        train_per_class=(100, 100),
        num_test=50,
        channels=channels,
        height=height,
        width=width,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        license=License(name="none"),
    )


def spec(shape, pi_type="feature", network=None):
    request = JobRequest.model_validate(
        {
            "dataset": "shapes",
            "images_per_class": 2,
            "base_method": "random",
            "pi_type": pi_type,
            "options": {"network": network},
        }
    )
    return resolve(request, facts(*shape), load_catalog())


@pytest.mark.parametrize(
    ("shape", "features"),
    [((3, 32, 32), 128 * 16), ((1, 28, 28), 128 * 16), ((3, 28, 28), 128 * 9), ((1, 8, 8), 512)],
)
def test_bytes_are_exact_where_the_feature_shape_is_known(shape, features):
    found = estimate(spec(shape))
    assert found.bytes["feature"] == 4 * 4 * features
    assert found.bytes["total"] == sum(v for name, v in found.bytes.items() if name != "total")
    assert found.equivalent_images_per_class is not None


def test_what_cannot_be_known_is_missing_and_not_taken_for_zero():
    found = estimate(spec((3, 40, 24)))
    assert {"feature", "total"}.isdisjoint(found.bytes)
    assert found.equivalent_images_per_class is None
    assert estimate(spec((3, 40, 24), "soft")).bytes["soft"] == 4 * 4 * 2


def test_gray_28_pixels_are_padded_to_32_for_every_network():
    assert estimate(spec((1, 28, 28), "none", "VGG11")).flops > 0
    with pytest.raises(InvalidInput, match="32 x 32"):
        spec((3, 28, 28), "none", "VGG11")


def test_feature_matching_costs_what_it_passes():
    """One pass for a real image and three for a synthetic one, in each of the iterations."""

    def flops(iterations):
        request = JobRequest.model_validate(
            {
                "dataset": "shapes",
                "images_per_class": 2,
                "base_method": "dm",
                "pi_type": "none",
                "options": {"base": {"iterations": iterations, "real_batch": 50}},
            }
        )
        found = resolve(request, facts(3, 32, 32), load_catalog())
        return estimate(found).flops

    forward = load_catalog().networks["ConvNetD3"].facts["by_size"]["32"]["forward_flops"]
    assert flops(30) - flops(10) == pytest.approx(20 * forward * (2 * 50 + 4 * 3))
