"""Every matching method under every privileged type, as whole tiny jobs on digits.

One job per method carries all types at once, each made in another of the ways there are, so that
every pair is built, trained on, written and read back.
"""

import pytest

from dcpi_core import bundle, pipeline
from dcpi_core.registry import METHODS
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.job import JobRequest
from dcpi_core.spec.resolve import resolve

TINY = {
    "iterations": 1,
    "outer_loops": 2,
    "inner_epochs": 1,
    "real_batch": 4,
    "watch_batch": 4,
    "training_steps": 1,
    "queue_start": 1,
    "frequencies": 8,
    "pool_networks": 1,
    "pool_epochs": 1,
    "partition": 1,
}
TEACHER = {"teacher_epochs": 1, "teacher_min_steps": 0}
LEARNED = {"iterations": 1, "outer_loops": 1, "real_batch": 4}
UNROLLED = {
    "learning": "unrolled",
    "unrolled_updates": 2,
    "unrolled_window": 2,
    "unrolled_real_images": 8,
}
LEARNING = {
    "feature": LEARNED | {"learning": "gradient_matching"},
    "attention_spatial": {"learning": "distribution_matching"},
    "attention_channel": UNROLLED,
    "soft": UNROLLED,
}

MATCHING = [e for e in METHODS if ".matching." in e.target.__module__]
LABELS = sorted(set(load_catalog().privileged_types) - {"none"})


def test_there_are_all_of_them():
    assert len(MATCHING) >= 9
    assert {"soft", "feature", "attention_spatial", "attention_channel"} <= set(LABELS)


def run(request, assets, workspace):
    """The finished bundle, verified."""
    catalog = load_catalog()
    spec = resolve(JobRequest.model_validate(request), catalog.datasets["digits"], catalog)
    directory = pipeline.run(spec, pipeline.Workplace(workspace, assets), device="cpu")
    assert all(check.passed for check in bundle.verify(directory))
    return bundle.load(directory)


@pytest.mark.parametrize("entry", MATCHING, ids=lambda entry: entry.name)
def test_all_labels_go_on_top_of_every_method(entry, assets, tmp_path):
    request = {
        "dataset": "digits",
        "images_per_class": 1,
        "base_method": entry.name,
        "pi_type": LABELS,
        "options": {
            "base": {k: v for k, v in TINY.items() if k in entry.options.model_fields},
            "pi": {name: TEACHER | LEARNING.get(name, {}) for name in LABELS},
            "evaluation": {"repeats": 1, "epochs": 1, "controls": []},
        },
    }
    found = run(request, assets, tmp_path)
    assert found.condensed.images.shape == (10, 1, 8, 8)
    assert sorted(labels.kind for labels in found.condensed.privileged) == LABELS
    arms = {arm.name for arm in found.report.arms}
    assert {"random", "base", "assigned", "privileged"} <= arms


def test_tiles_have_labels_of_their_own(assets, tmp_path):
    types = ["soft", "feature", "attention_spatial"]
    base = {"iterations": 1, "real_batch": 4, "queue_start": 1, "training_steps": 1}
    request = {
        "dataset": "digits",
        "images_per_class": 1,
        "base_method": "idm",
        "pi_type": types,
        "options": {
            "base": base | {"partition": 2},
            "pi": dict.fromkeys(types, TEACHER),
            "evaluation": {"repeats": 1, "epochs": 1, "controls": ["permuted"]},
        },
    }
    found = run(request, assets, tmp_path)
    condensed, report = found.condensed, found.report
    assert (len(condensed), condensed.tiles) == (10, 4)
    by_kind = {labels.kind: labels for labels in condensed.privileged}
    assert len(by_kind["soft"].probabilities) == len(by_kind["feature"].values) == 40
    sizes = {arm.name: arm.train_bytes for arm in report.arms}
    assert sizes["permuted"] == sizes["privileged"] == report.bytes.total
    teacher = {labels.kind: labels.within_class_distance for labels in report.label_statistics}
    assert teacher["feature"] > 0  # four tiles of a class, so there are pairs to compare


@pytest.mark.parametrize("method", ["idm", "ncfm"])
def test_labels_of_tiles_are_learned_in_every_way(method, assets, tmp_path):
    fields = METHODS.get(method).options.model_fields
    base = {k: v for k, v in TINY.items() if k in fields} | {"partition": 2}
    request = {
        "dataset": "digits",
        "images_per_class": 1,
        "base_method": method,
        "pi_type": LABELS,
        "options": {
            "base": base,
            "pi": {name: TEACHER | LEARNING.get(name, {}) for name in LABELS},
            "evaluation": {"repeats": 1, "epochs": 1, "controls": ["equal_steps", "noise"]},
        },
    }
    found = run(request, assets, tmp_path)
    assert (len(found.condensed), found.condensed.tiles) == (10, 4)
    assert {len(labels.as_values()) for labels in found.condensed.privileged} == {40}
    arms = {arm.name for arm in found.report.arms}
    assert {"assigned", "privileged", "equal_steps", "noise"} <= arms
    drifts = [value for name, value in found.report.metrics.items() if name.endswith("_drift")]
    assert len(drifts) == len(LABELS)
    assert min(drifts) > 0
