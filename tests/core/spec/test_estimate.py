from pathlib import Path

import pytest

from dcpi_core.privileged.features.feature import Feature, FeatureOptions
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.dataset import DatasetFacts, License
from dcpi_core.spec.errors import InvalidInput
from dcpi_core.spec.estimate import _forward_flops, estimate, estimate_verification
from dcpi_core.spec.job import JobRequest
from dcpi_core.spec.resolve import resolve
from dcpi_core.spec.rules import feature_values
from tests.core.problems import blobs, context


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


def spec(shape, pi_type="feature", network=None, method="random", controls=(), **pi):
    request = JobRequest.model_validate(
        {
            "dataset": "shapes",
            "images_per_class": 2,
            "base_method": method,
            "pi_type": pi_type,
            "options": {
                "network": network,
                "base": {"iterations": 10} if method == "dc" else {},
                "evaluation": {"controls": controls, "repeats": 2, "epochs": 9},
                "pi": {pi_type: pi} if pi else {},
            },
        }
    )
    return resolve(request, facts(*shape), load_catalog())


@pytest.mark.parametrize(
    ("shape", "features"),
    [((3, 32, 32), 128 * 16), ((1, 28, 28), 128 * 16), ((3, 28, 28), 128 * 9), ((1, 8, 8), 512)],
)
def test_bytes_are_exact_where_the_feature_shape_is_known(shape, features):
    found = estimate(spec(shape))
    assert found.bytes["feature"] == 4 * (features + 6)  # a byte each, and the range
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


LEARNED = {"learning": "gradient_matching", "iterations": 10}


class TestControls:
    """Gray 8 x 8 images: 264 bytes each, and 518 more for a feature label of ConvNetD2."""

    shape = (1, 8, 8)
    per_class = 2 * (264 + 518) // 264

    def more(self, name, method="dc", pi_type="feature", **pi):
        """Operations that a control adds, in forward passes of the network."""
        plain = spec(self.shape, pi_type, None, method, (), **pi)
        asked = spec(self.shape, pi_type, None, method, (name,), **pi)
        forward = _forward_flops(plain.network, plain, load_catalog())
        return (estimate(asked).flops - estimate(plain).flops) / forward

    def students(self, images):
        """Two repeats of ten epochs at three passes each, and their test."""
        return 2 * (images * 10 * 3 + 50)

    def synthesis(self, images):
        """Ten updates: all 100 real images of two classes, and second-order passes."""
        return 10 * (2 * 100 * 3 + images * 9)

    def test_a_control_that_is_only_trained_on(self):
        assert self.more("permuted") == pytest.approx(self.students(4))
        assert self.more("random_privileged") == pytest.approx(self.students(4))
        assert self.more("noise", **LEARNED) == pytest.approx(self.students(4))

    def test_more_images_are_made_and_trained_on(self):
        images = 2 * self.per_class
        assert self.more("equal_bytes") == pytest.approx(
            self.students(images) + self.synthesis(images)
        )
        assert self.more("equal_bytes", method="random") == pytest.approx(self.students(images))

    def test_further_steps_are_as_many_as_the_labels_got(self):
        found = self.more("equal_steps", **LEARNED)
        assert found == pytest.approx(self.students(4) + self.synthesis(4))

    def test_all_training_images_cost_their_number_with_labels_or_without(self):
        assert self.more("full") == pytest.approx(self.students(200))
        assert self.more("full", pi_type="none") == pytest.approx(self.students(200))
        assert self.more("random_other_view", pi_type="none") == pytest.approx(self.students(4))

    def test_real_images_are_whole_also_beside_tiles(self):
        for name, images in (("full", 200), ("random_other_view", 4), ("other_view", 4 * 4)):
            found = self.more(name, method="idm", pi_type="none")
            assert found == pytest.approx(self.students(images)), name

    def test_controls_that_do_not_apply_cost_nothing(self):
        for name in ("equal_steps", "noise"):
            assert self.more(name) == 0
        assert self.more("equal_steps", method="random", **LEARNED) == 0
        assert self.more("permuted", pi_type="soft") == 0
        assert self.more("permuted", pi_type="none") == 0


@pytest.mark.parametrize(
    ("network", "shape", "values"),
    [
        ("ConvNetD3", (3, 32, 32), 128 * 4 * 4),
        ("ConvNetD3", (3, 40, 40), 128 * 5 * 5),
        ("ConvNetD3", (3, 32, 48), 128 * 4 * 6),
        ("ConvNetD3", (3, 448, 448), 128 * 56 * 56),
        ("ResNet18", (3, 40, 40), 512),
    ],
)
def test_values_of_features_are_known_at_any_size(network, shape, values):
    found = feature_values(network, facts(*shape), load_catalog())
    assert found == pytest.approx(values, rel=0.03)
    assert feature_values("ConvNetD8", facts(*shape), load_catalog()) is None, "never measured"


def test_frequencies_cost_more_for_larger_images_whether_they_were_measured_or_not():
    sizes = ((3, side, side) for side in (28, 32, 36, 40, 44, 48, 56, 64))
    found = [estimate(spec(each, "none", "ConvNetD3", "ncfm")).flops for each in sizes]
    assert found == sorted(found)


@pytest.mark.parametrize("shape", [(3, 100, 100), (3, 96, 96)])
def test_a_network_of_frequencies_that_is_too_wide_is_refused_at_any_size(shape):
    with pytest.raises(InvalidInput, match="at most 8192 values"):
        spec(shape, "none", "ConvNetD3", "ncfm")


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


WAYS = [
    (name, way)
    for name, entry in load_catalog().privileged_types.items()
    for way in entry.options_schema["properties"].get("learning", {}).get("enum", ())
]


@pytest.mark.parametrize(("pi_type", "way"), WAYS)
def test_every_way_of_learning_every_type_has_an_estimate(pi_type, way):
    assert {"soft", "feature"} <= {name for name, _ in WAYS}
    assigned = estimate(spec((3, 32, 32), pi_type))
    found = estimate(spec((3, 32, 32), pi_type, learning=way))
    assert (found.flops > assigned.flops) == (way != "assigned")


@pytest.mark.parametrize(("method", "tiles"), [("random", 1), ("idm", 4)])
def test_unrolled_labels_cost_two_windows_an_update_and_the_real_images_that_judge_them(
    method, tiles
):
    def flops(updates):
        own = {"learning": "unrolled", "unrolled_updates": updates, "unrolled_window": 7}
        return estimate(spec((3, 32, 32), method=method, **own)).flops

    forward = load_catalog().networks["ConvNetD3"].facts["by_size"]["32"]["forward_flops"]
    window = 7 * 4 * tiles * 9 + 256 * 3
    assert flops(30) - flops(10) == pytest.approx(20 * forward * 2 * window)


@pytest.mark.parametrize("method", ["idm", "ncfm"])
def test_equal_steps_of_tiles_cost_what_steps_of_their_method_do(method):
    def flops(iterations, updates, controls=()):
        labels = {"learning": "gradient_matching", "iterations": updates, "outer_loops": 1}
        request = {
            "dataset": "shapes",
            "images_per_class": 2,
            "base_method": method,
            "pi_type": "feature",
            "options": {
                "base": {"iterations": iterations, "real_batch": 50},
                "pi": {"feature": labels},
                "evaluation": {"controls": controls},
            },
        }
        wanted = JobRequest.model_validate(request)
        return estimate(resolve(wanted, facts(3, 32, 32), load_catalog())).flops

    def of_more_updates(controls):
        return flops(10, 30, controls) - flops(10, 10, controls)

    of_steps = of_more_updates(["equal_steps"]) - of_more_updates([])
    assert of_steps == pytest.approx(flops(30, 10) - flops(10, 10))


class TestTeachers:
    """Passes of 200 real images that further epochs of the teachers cost, in networks."""

    def count(self, pi, method="random"):
        def flops(epochs):
            small = {"teacher_epochs": epochs, "teacher_min_steps": 0}
            proxy = {"proxy_epochs": epochs, "proxy_min_steps": 0} if method != "random" else {}
            options = {"base": proxy, "pi": {name: small | own for name, own in pi.items()}}
            request = {
                "dataset": "shapes",
                "images_per_class": 2,
                "base_method": method,
                "pi_type": list(pi),
                "options": options,
            }
            found = resolve(JobRequest.model_validate(request), facts(3, 32, 32), load_catalog())
            return estimate(found).flops

        forward = load_catalog().networks["ConvNetD3"].facts["by_size"]["32"]["forward_flops"]
        return (flops(5) - flops(2)) / (3 * 200 * 3 * forward)

    @pytest.mark.parametrize(
        ("options", "networks"),
        [
            ({}, 1),
            ({"labels_per_image": 3}, 3),
            (LEARNED | {"label_networks": "trained"}, 5),
            (LEARNED | {"label_networks": "trained", "label_init": "noise"}, 4),
            ({"label_init": "noise"}, 0),
            ({"label_init": "noise", "learning": "distribution_matching"}, 1),
        ],
    )
    def test_as_many_as_the_labels_need(self, options, networks):
        assert self.count({"feature": options}) == pytest.approx(networks)
        assert len(Feature(FeatureOptions(**options)).needs(context(blobs(), Path()))) == networks

    def test_equal_ones_are_trained_once(self):
        both = {"soft": {}, "feature": {"labels_per_image": 2}}
        assert self.count(both) == pytest.approx(2)
        assert self.count(both, method="herding") == pytest.approx(2)
        other = {"soft": {}, "feature": {"teacher_weight_decay": 0}}
        assert self.count(other) == pytest.approx(2)


def test_tiles_and_networks_in_training_are_counted():
    """Each stored image is four; in every step two networks see ten batches of all 200."""

    def flops(iterations):
        request = JobRequest.model_validate(
            {
                "dataset": "shapes",
                "images_per_class": 2,
                "base_method": "idm",
                "pi_type": "none",
                "options": {"base": {"iterations": iterations, "real_batch": 50}},
            }
        )
        return estimate(resolve(request, facts(3, 32, 32), load_catalog())).flops

    forward = load_catalog().networks["ConvNetD3"].facts["by_size"]["32"]["forward_flops"]
    step = 2 * 50 + 4 * 4 * 3 + 2 * 10 * 200 * 3
    assert flops(30) - flops(10) == pytest.approx(20 * forward * step)


class TestEvaluation:
    """Random images with feature labels: three arms, two repeats, nine epochs."""

    def passes(self, pi_type="feature", **evaluation):
        """Forward passes that these options add."""
        plain = spec((3, 32, 32), pi_type)
        own = plain.evaluation.model_copy(update=evaluation)
        more = estimate(plain.model_copy(update={"evaluation": own})).flops
        forward = _forward_flops(plain.network, plain, load_catalog())
        return (more - estimate(plain).flops) / forward

    @pytest.mark.parametrize(("every", "tests"), [(0, 0), (1, 9), (4, 2), (10, 0)])
    def test_tests_along_the_way(self, every, tests):
        assert self.passes(test_every=every) == pytest.approx(tests * 3 * 2 * 50)

    def test_gradient_alignment_trains_four_students_and_looks_at_them(self):
        """Ten passes over four images, looked at in steps 0, 1, 3 and 10; all 200 images there."""
        wanted = 3 * 4 * (10 * 4 + 4 * (2 * 4 + 200))
        assert self.passes(gradient_alignment=True) == pytest.approx(wanted)
        assert self.passes("none", gradient_alignment=True) == 0


def test_a_verification_costs_the_students_of_the_arms_it_trains():
    labelled, plain = spec((3, 32, 32)), spec((3, 32, 32), pi_type="none")
    once, twice = (estimate_verification(labelled, repeats).flops for repeats in (1, 2))
    assert twice == pytest.approx(2 * once)
    assert once == pytest.approx(2 * estimate_verification(plain, 1).flops)
    assert twice < estimate(labelled).flops
