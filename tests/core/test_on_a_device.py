"""Whole jobs with a device beside the CPU: nothing mixes the two, and the results are the same.

The device is a stand-in (``stand_in.py``), so this runs everywhere; where there is a GPU, that too.
What the stand-in cannot show is speed, memory and the rounding of a GPU's own kernels.
"""

import runpy
from dataclasses import replace

import numpy as np
import pytest
import torch

from dcpi_core import bundle, pipeline
from dcpi_core.compute import Runtime
from dcpi_core.condensed import CondensedSet
from dcpi_core.prepared import Assets
from dcpi_core.real_training import TrainingPlan
from dcpi_core.registry import METHODS
from dcpi_core.spec.job import JobRequest
from dcpi_core.spec.progress import Stopped
from dcpi_core.spec.resolve import resolve
from dcpi_core.training import Recipe, fit
from tests.core.methods.test_every_method import method_of
from tests.core.problems import blobs, context
from tests.core.stand_in import DEVICE, Mixed, Shell, stand_in
from tests.core.test_every_combination import LABELS, LEARNED, LEARNING, MATCHING, TEACHER, TINY

RULES = [entry for entry in METHODS if ".coreset." in entry.target.__module__]
PROXY = {"proxy_epochs": 8, "proxy_min_steps": 0}


class TestStandIn:
    """It is a device: values are real, and what a GPU refuses is refused."""

    def test_computes(self):
        with stand_in():
            x = torch.arange(6.0).view(2, 3).to(DEVICE).requires_grad_()
            ((x * 2).sum(1) ** 2).sum().backward()
            assert x.grad.device == DEVICE
            assert x.grad.cpu().tolist() == [[24.0] * 3, [96.0] * 3]
            x.detach()[0] = torch.tensor([1.0, 2.0, 3.0], device=DEVICE)
            assert x.sum().item() == 18.0

    @pytest.mark.parametrize(
        "mix",
        [
            lambda there, here: there + here,
            lambda there, here: torch.cat([there, here]),
            lambda there, here: here[there.long()],
            lambda there, here: here.index_select(0, there.long()),
            lambda there, here: torch.where(there > 1, there, here),
            lambda there, _: torch.randn(2, generator=torch.Generator(), device=there.device),
        ],
    )
    def test_refuses_what_mixes_devices(self, mix):
        with stand_in(), pytest.raises(Mixed):
            mix(torch.ones(2, device=DEVICE), torch.ones(2))

    def test_takes_what_a_gpu_takes(self):
        with stand_in():
            there = torch.arange(3.0).to(DEVICE)
            assert (there + torch.tensor(1.0)).cpu().tolist() == [1.0, 2.0, 3.0]
            assert there[torch.tensor([2, 0])].cpu().tolist() == [2.0, 0.0]

    def test_cannot_be_read_as_memory(self):
        with stand_in():
            there = torch.ones(2, device=DEVICE)
            assert isinstance(there, Shell)
            with pytest.raises((TypeError, RuntimeError)):
                there.numpy()

    def test_counts_how_often_it_is_waited_for(self):
        with stand_in() as device:
            there = torch.ones(2, device=DEVICE) * 2
            assert device.waits.total() == 0
            there.sum().item()
            there.cpu()
            torch.zeros(2).copy_(there)
            assert device.waits.total() == 3
            there[torch.tensor([1])]
            there[there > 1]
            torch.zeros(2).to(DEVICE)
            assert device.waits.total() == 6
            torch.zeros(2).to(DEVICE, non_blocking=True)
            there[there.long() - 1]
            assert device.waits.total() == 6


@pytest.fixture
def run(source, assets, tmp_path, monkeypatch):
    """Runs a job on a device, "cpu", "cuda" or "stand-in"; returns its finished bundle."""

    def choose(device="auto", threads=None, shrink=0):
        return Runtime(DEVICE, 1, None)

    def go(request, where, name="job", data=source, **how):
        request = {"dataset": "blobs", "images_per_class": 2, "pi_type": "none"} | request
        spec = resolve(JobRequest.model_validate(request), data.facts)
        place = pipeline.Workplace(tmp_path / f"{where}-{name}", assets / where, source=data)
        if where != "stand-in":
            return bundle.load(pipeline.run(spec, place, device=where, **how))
        with monkeypatch.context() as patch, stand_in():
            patch.setattr(Runtime, "choose", choose)
            return bundle.load(pipeline.run(spec, place, **how))

    return go


def agree(there, here, tolerance=1e-3):
    """Both bundles hold the same, but for rounding that a few steps carry on."""
    first, second = there.condensed, here.condensed
    assert torch.equal(first.labels, second.labels)
    assert float((first.images - second.images).abs().mean()) < tolerance
    assert [own.kind for own in first.privileged] == [own.kind for own in second.privileged]
    for one, other in zip(first.privileged, second.privileged, strict=True):
        found, wanted = one.as_values(), other.as_values()
        assert float((found - wanted).abs().mean()) < tolerance * float(wanted.abs().mean())
    arms = [(arm.name, arm.network, arm.num_images) for arm in there.report.arms]
    assert arms == [(arm.name, arm.network, arm.num_images) for arm in here.report.arms]


@pytest.fixture(params=["stand-in", pytest.param("cuda", marks=pytest.mark.gpu)])
def there(request):
    """The device beside the CPU."""
    return request.param


@pytest.fixture
def compare(run, there):
    """Runs a job there and on the CPU."""
    return lambda request, **how: agree(run(request, there, **how), run(request, "cpu", **how))


def tiny(entry, **more):
    return {k: v for k, v in (TINY | more).items() if k in entry.options.model_fields}


SHORT = {"repeats": 1, "epochs": 1, "controls": []}


@pytest.mark.parametrize("entry", MATCHING, ids=lambda entry: entry.name)
def test_every_method_that_makes_images(entry, compare):
    options = {"base": tiny(entry, iterations=2), "evaluation": SHORT}
    compare({"base_method": entry.name, "options": options})


@pytest.mark.parametrize("entry", RULES, ids=lambda entry: entry.name)
def test_every_rule_that_selects_images(entry, compare):
    more = PROXY | {"weighted": True}
    base = {k: v for k, v in more.items() if k in entry.options.model_fields}
    options = {"base": base, "evaluation": SHORT}
    compare({"base_method": entry.name, "options": options})


def test_labels_of_every_type(compare):
    options = {
        "pi": {name: TEACHER | LEARNING.get(name, {}) for name in LABELS},
        "evaluation": SHORT | {"controls": ["equal_bytes", "permuted", "noise", "full"]},
    }
    compare({"base_method": "random", "pi_type": LABELS, "options": options})


@pytest.mark.parametrize("schedule", ["alternating", "joint"])
def test_images_tuned_with_their_labels(schedule, compare):
    own = TEACHER | LEARNED | {"learning": "gradient_matching", "schedule": schedule}
    options = {"pi": {"feature": own | {"labels_per_image": 2}}, "evaluation": SHORT}
    compare({"base_method": "random", "pi_type": "feature", "options": options})


@pytest.mark.parametrize("protocol", ["dsa", "dc_flip_shift"])
def test_students_of_other_networks_and_protocols(protocol, compare):
    networks = ["ConvNetD2", "MLP", "LeNet", "ResNet18"]
    evaluation = SHORT | {"protocol": protocol, "networks": networks, "test_every": 1}
    options = {
        "network": "ConvNetD2",
        "pi": dict.fromkeys(["feature", "soft"], TEACHER),
        "evaluation": evaluation,
    }
    request = {"base_method": "random", "pi_type": ["feature", "soft"], "options": options}
    compare(request, data=blobs(per_class=4, side=16))


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_a_job_that_was_stopped_goes_on(calls, run, there, compare):
    request = {
        "base_method": "dc",
        "pi_type": "feature",
        "seed": calls,  # or the base set would be found, and no step of it be left to stop in
        "options": {
            "base": {"iterations": 2, "outer_loops": 1, "real_batch": 4},
            "pi": {"feature": TEACHER | LEARNED | {"learning": "gradient_matching"}},
            "evaluation": SHORT,
        },
    }
    left = iter(range(calls))
    with pytest.raises(Stopped):
        run(request, there, stop=lambda: next(left, None) is None)
    compare(request)


def test_a_bundle_trains_students(run, source, monkeypatch):
    made = run({"base_method": "random", "options": {"evaluation": SHORT}}, "cpu")
    with monkeypatch.context() as patch, stand_in():
        patch.setattr(Runtime, "choose", lambda *_, **__: Runtime(DEVICE, 1, None))
        network = made.fit()
        assert {parameter.device for parameter in network.parameters()} == {DEVICE}
        there = made.evaluate(network, source.test)
    assert there == pytest.approx(made.evaluate(made.fit(), source.test), abs=0.05)


def test_the_script_of_a_bundle_trains_on_it(run, source, tmp_path, monkeypatch, capsys):
    options = {
        "base": tiny(METHODS.get("idm"), partition=2),
        "pi": dict.fromkeys(["feature", "soft"], TEACHER),
        "evaluation": SHORT | {"protocol": "dsa", "epochs": 3},
    }
    request = {"base_method": "idm", "pi_type": ["feature", "soft"], "options": options}
    run(request, "cpu")
    test = tmp_path / "test.npz"
    np.savez(test, images=source.test.images, labels=source.test.labels)
    script = str(tmp_path / "cpu-job" / "bundle" / "train.py")
    shown = []
    for device in ("cpu", str(DEVICE)):
        monkeypatch.setattr("sys.argv", [script, "--test", str(test), "--device", device])
        with stand_in():
            runpy.run_path(script, run_name="__main__")
        shown.append(capsys.readouterr().out)
    assert "measured" in shown[0]
    assert shown[1] == shown[0]


WAITS = {"cafe": 5, "idm": 11, "ncfm": 7}
"""What a step leaves on the CPU for the next: CAFE, accuracies that tell when to stop; IDM, its
queue of networks; NCFM, two optimisers and its sampler. All others: the loss and the images."""


@pytest.mark.parametrize("entry", MATCHING, ids=lambda entry: entry.name)
def test_a_step_does_not_wait_in_its_middle(entry, source, assets):
    """However many classes, batches, networks and parameters it goes through."""
    method, ctx = method_of(entry), context(source, assets / "steps")
    ctx = replace(ctx, runtime=Runtime(DEVICE, 1, None))
    with stand_in() as device:
        for plan in method.needs(ctx):
            ctx.trained_network(plan)
        state = method.init(ctx)
        method.step(state, 0, ctx)
        before = device.waits.total()
        method.step(state, 1, ctx)
        assert device.waits.total() - before == WAITS.get(entry.name, 2)


def test_students_wait_at_the_end_of_their_training_only(source, assets):
    ctx = context(source, assets / "students")
    index = torch.arange(len(source.train))
    condensed = CondensedSet(ctx.normalised(index), source.train.labels)
    waits = []
    for epochs in (1, 4):
        with stand_in() as device:
            recipe = Recipe(epochs=epochs, augmentation="dsa", batch_size=16)
            fit(ctx.fresh_network("student"), condensed, recipe, runtime=Runtime(DEVICE, 1, None))
            waits.append(device.waits.total())
    assert waits[0] == waits[1]


def test_networks_on_real_data_wait_at_the_end_of_an_epoch_only(source, tmp_path):
    waits = []
    for batch_size in (60, 6):
        plan = TrainingPlan("ConvNetD2", epochs=2, min_steps=0, batch_size=batch_size)
        with stand_in() as device:
            Assets(tmp_path).trained_network(
                plan, source.train, source.facts, Runtime(DEVICE, 1, None)
            )
            waits.append(device.waits.total())
    assert waits[0] == waits[1]
