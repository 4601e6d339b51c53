"""What the estimate counts for an update of labels against what one does."""

import pytest

from dcpi_core.evaluation.controls import random_images
from dcpi_core.networks import first_order
from dcpi_core.privileged.features.feature import Feature, FeatureOptions
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.estimate import estimate
from dcpi_core.spec.job import JobRequest
from dcpi_core.spec.resolve import resolve
from tests.core.operations import Counter
from tests.core.problems import blobs, context

SMALL = {"real_batch": 16, "outer_loops": 1, "teacher_epochs": 1, "teacher_min_steps": 0}


def estimated(source, options, per_class, iterations):
    request = {
        "dataset": "blobs",
        "images_per_class": per_class,
        "base_method": "random",
        "pi_type": "feature",
        "options": {
            "network": "ConvNetD2",
            "pi": {"feature": options | {"iterations": iterations}},
        },
    }
    return estimate(resolve(JobRequest.model_validate(request), source.facts, load_catalog())).flops


@pytest.mark.parametrize("labels", [1, 4])
@pytest.mark.parametrize("schedule", ["labels_only", "alternating", "joint"])
def test_an_update_costs_what_is_estimated(schedule, labels, tmp_path, monkeypatch):
    monkeypatch.setattr(first_order, "_suits", lambda network, images: False)
    options = SMALL | {"learning": "gradient_matching", "schedule": schedule}
    options |= {"labels_per_image": labels}
    source = blobs(side=8)
    ctx = context(source, tmp_path, per_class=8, threads=1)
    method, images = Feature(FeatureOptions(**options)), random_images(0, ctx)
    for plan in method.needs(ctx):
        ctx.trained_network(plan)
    state = method.init(images, ctx)
    with Counter() as counter:
        method.step(state, images, 0, ctx)
    more = estimated(source, options, 8, 2) - estimated(source, options, 8, 1)
    assert 0.6 < more / counter.total < 1.6
