"""What the estimate counts for each matching method against what a short run of it does.

Convolutions take the plain way here, as they are counted: as direct ones.
"""

import pytest

from dcpi_core.networks import first_order
from dcpi_core.registry import METHODS
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.estimate import estimate
from dcpi_core.spec.job import JobRequest
from dcpi_core.spec.resolve import resolve
from tests.core.operations import Counter
from tests.core.problems import blobs, context

SMALL = {
    "outer_loops": 3,
    "inner_epochs": 4,
    "training_steps": 2,
    "frequencies": 64,
    "pool_networks": 2,
    "pool_epochs": 2,
    "real_batch": 16,
    "watch_batch": 16,
    "warmup_networks": 0,
    "settled": 0.0,  # nothing ends early: the estimate counts loops at their bounds
    "learned": 1.0,
}


MATCHING = [e for e in METHODS if ".matching." in e.target.__module__]


def test_there_are_all_of_them():
    assert len(MATCHING) >= 9


def options_of(entry, iterations):
    found = SMALL | {"iterations": iterations}
    return {k: v for k, v in found.items() if k in entry.options.model_fields}


def estimated(entry, source, iterations, per_class):
    request = {
        "dataset": "blobs",
        "images_per_class": per_class,
        "base_method": entry.name,
        "pi_type": "none",
        "options": {"network": "ConvNetD2", "base": options_of(entry, iterations)},
    }
    spec = resolve(JobRequest.model_validate(request), source.facts, load_catalog())
    return estimate(spec).flops


@pytest.mark.parametrize("per_class", [1, 8])
@pytest.mark.parametrize("entry", MATCHING, ids=lambda entry: entry.name)
def test_an_iteration_costs_what_is_estimated(entry, per_class, tmp_path, monkeypatch):
    monkeypatch.setattr(first_order, "_suits", lambda network, images: False)
    source = blobs(side=8)
    ctx = context(source, tmp_path, per_class=per_class, threads=1)
    method = entry.target(entry.options(**options_of(entry, 2)))
    state, each = method.init(ctx), method.total_steps(ctx) // 2
    for plan in method.needs(ctx):
        ctx.trained_network(plan)
    with Counter() as counter:
        for number in range(each):
            method.step(state, number, ctx)
    more = estimated(entry, source, 2, per_class) - estimated(entry, source, 1, per_class)
    assert 0.5 < more / counter.total < 2


def test_a_pool_costs_what_is_estimated(tmp_path, monkeypatch):
    monkeypatch.setattr(first_order, "_suits", lambda network, images: False)
    source, entry = blobs(side=8), METHODS.get("ncfm")
    ctx = context(source, tmp_path, threads=1)
    with Counter() as counter:
        for plan in entry.target(entry.options(**options_of(entry, 1))).needs(ctx):
            ctx.trained_network(plan)

    def flops(networks):
        monkeypatch.setitem(SMALL, "pool_networks", networks)
        return estimated(entry, source, 1, 2)

    assert 0.5 < (flops(3) - flops(1)) / counter.total < 2
