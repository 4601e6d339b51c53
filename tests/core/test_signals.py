"""Signals of a proxy: what they hold, and that they are computed once."""

import pytest
import torch

from dcpi_core import bundle, pipeline, prepared
from dcpi_core.prepared import Assets
from dcpi_core.real_training import TrainingPlan
from dcpi_core.signals import outputs_of
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.errors import TrainingDiverged
from dcpi_core.spec.job import JobRequest
from dcpi_core.spec.resolve import resolve
from tests.core.problems import blobs, context


def plan(network="ConvNetD2"):
    return TrainingPlan(network=network, epochs=2, batch_size=16)


def signals(root, ctx, network="ConvNetD2", on_step=None):
    return Assets(root).signals(plan(network), ctx.train, ctx.facts, ctx.runtime, on_step)


def same(first, second):
    pairs = [(value, second.stored()[name]) for name, value in first.stored().items()]
    return all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)


@pytest.mark.parametrize("network", ["ConvNetD2", "LeNet"])
def test_they_are_what_the_trained_network_says(tmp_path, network):
    ctx = context(blobs(side=16), tmp_path)
    found = signals(tmp_path, ctx, network).at(torch.arange(len(ctx.train)))
    trained = Assets(tmp_path).trained_network(plan(network), ctx.train, ctx.facts, ctx.runtime)
    proxy = trained.network(ctx.facts, ctx.runtime)
    with torch.no_grad():
        features = proxy.features(ctx.normalised(torch.arange(len(ctx.train))))
        inputs, logits = proxy.last_inputs(features), proxy.classify(features)
    half = {"rtol": 1e-3, "atol": 1e-4}  # as they are stored
    torch.testing.assert_close(found.features, features.flatten(1), **half)
    torch.testing.assert_close(found.inputs, inputs, **half)
    torch.testing.assert_close(found.logits, logits, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.labels, ctx.train.labels)
    for name in ("forgetting", "learned", "el2n", "grand"):
        assert torch.equal(getattr(found, name), getattr(trained, name))


def test_features_that_the_last_layer_reads_are_stored_once(tmp_path):
    ctx = context(blobs(side=16), tmp_path)
    assert "inputs" not in signals(tmp_path, ctx, "MLP").stored()
    assert "inputs" in signals(tmp_path, ctx, "LeNet").stored()  # layers before the last


def test_read_from_disk_they_are_the_same_bits(tmp_path):
    ctx = context(blobs(), tmp_path)
    first = signals(tmp_path, ctx)
    again = signals(tmp_path, ctx, on_step=lambda *at: pytest.fail("made twice"))
    assert same(first, again)


def test_a_damaged_file_is_made_again(tmp_path, caplog):
    ctx = context(blobs(), tmp_path)
    first = signals(tmp_path, ctx)
    (file,) = tmp_path.rglob("*.signals")
    file.write_bytes(b"half a file")
    assert same(signals(tmp_path, ctx), first)
    assert "made again" in caplog.text


@pytest.mark.parametrize(("scale", "kept"), [(1.0, torch.float16), (1e6, torch.float32)])
def test_features_out_of_the_range_of_float16_stay_whole(tmp_path, scale, kept):
    ctx = context(blobs(), tmp_path, network="MLP")
    network = ctx.fresh_network("large")
    with torch.no_grad():
        network.blocks[-1][1].weight.mul_(scale)
    found = outputs_of(network, iter([ctx.normalised(torch.arange(4))]), ctx.runtime)
    assert found.features.dtype == kept
    assert bool(found.features.isfinite().all())


def test_a_proxy_that_diverged_is_refused(tmp_path):
    ctx = context(blobs(), tmp_path)
    network = ctx.fresh_network("broken")
    with torch.no_grad():
        network.classifier.weight.fill_(torch.nan)
    with pytest.raises(TrainingDiverged, match="proxy"):
        outputs_of(network, iter([ctx.normalised(torch.arange(4))]), ctx.runtime)


def job(rule, count):
    catalog = load_catalog()
    request = {
        "dataset": "digits",
        "images_per_class": count,
        "base_method": rule,
        "pi_type": "none",
        "options": {
            "network": "MLP",
            "base": {"proxy_epochs": 2, "proxy_min_steps": 0},
            "evaluation": {"repeats": 1, "epochs": 1},
        },
    }
    return resolve(JobRequest.model_validate(request), catalog.datasets["digits"], catalog)


def test_later_jobs_train_nothing_and_compute_no_signal(tmp_path, monkeypatch):
    """Whatever their rule and budget, as long as dataset, network and seed are the same."""

    def run(rule, count):
        place = pipeline.Workplace(tmp_path / f"{rule}{count}", tmp_path / "assets")
        return bundle.load(pipeline.run(job(rule, count), place, device="cpu")).condensed

    first = run("craig", 2)
    monkeypatch.setattr(prepared.Trainer, "epoch", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(prepared, "outputs_of", lambda *_: pytest.fail("computed again"))
    more = run("craig", 3)
    assert torch.equal(more.source_indices.view(10, 3)[:, :2], first.source_indices.view(10, 2))
    assert len(run("graph_cut", 1)) == len(run("glister", 1)) == 10
