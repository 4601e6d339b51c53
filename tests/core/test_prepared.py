from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from dcpi_core.networks import build
from dcpi_core.prepared import Assets
from dcpi_core.real_training import TrainingPlan
from dcpi_core.rng import Streams
from dcpi_core.spec.errors import TrainingDiverged
from tests.core.problems import blobs, context

PLAN = TrainingPlan(network="ConvNetD2", epochs=4, batch_size=16)


def train(root, ctx, on_step=None):
    return Assets(root).trained_network(PLAN, ctx.train, ctx.facts, ctx.runtime, on_step)


def test_a_network_is_trained_once_and_then_read(tmp_path):
    ctx = context(blobs(), tmp_path)
    steps = []
    first = train(tmp_path, ctx, lambda *at: steps.append(at))
    assert steps[-1][:2] == (16, 16)  # 60 images in batches of 16, four epochs
    again = train(str(tmp_path), ctx, lambda *at: pytest.fail("trained twice"))
    assert all(torch.equal(first.parameters[k], again.parameters[k]) for k in first.parameters)
    assert first.train_accuracy > 0.5


def test_an_interrupted_training_goes_on_bit_exactly(tmp_path):
    ctx = context(blobs(), tmp_path)
    whole = train(tmp_path / "whole", ctx)

    def interrupt(step, total, what):
        if step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", ctx, interrupt)
    steps = []
    resumed = train(tmp_path / "parts", ctx, lambda *at: steps.append(at[0]))
    assert steps[0] == 9  # the third epoch anew
    for name, value in whole.parameters.items():
        assert torch.equal(resumed.parameters[name], value)
    assert torch.equal(resumed.forgetting, whole.forgetting)


def test_a_training_that_diverges_is_an_error_and_leaves_nothing(tmp_path):
    ctx = context(blobs(), tmp_path)
    wild = replace(PLAN, learning_rate=1e30)
    with pytest.raises(TrainingDiverged, match="ConvNetD2 on real images diverged"):
        Assets(tmp_path).trained_network(wild, ctx.train, ctx.facts, ctx.runtime)
    assert not list(tmp_path.rglob("*.safetensors")) + list(tmp_path.rglob("*.partial"))


def test_another_plan_or_dataset_is_another_asset():
    digests = {
        PLAN.digest("a"),
        PLAN.digest("b"),
        TrainingPlan(network="ConvNetD2", epochs=5, batch_size=16).digest("a"),
    }
    assert len(digests) == 3


def test_the_same_pixels_normalised_otherwise_are_other_data(tmp_path):
    ctx = context(blobs(), tmp_path)
    first = train(tmp_path, ctx)
    brighter = ctx.facts.model_copy(update={"mean": tuple(m / 2 for m in ctx.facts.mean)})
    other = Assets(tmp_path).trained_network(PLAN, ctx.train, brighter, ctx.runtime)
    assert not all(torch.equal(first.parameters[k], other.parameters[k]) for k in first.parameters)


def test_forgetting_counts_changes_from_right_to_wrong(tmp_path):
    """Replayed with plain autograd: what the network said of each image just before its step."""
    ctx = context(blobs(noise=0.95), tmp_path)
    found = train(tmp_path, ctx)
    right = replayed_predictions(ctx)
    forgotten = (right[:-1] & ~right[1:]).sum(0)
    assert torch.equal(found.forgetting, forgotten)
    assert torch.equal(found.learned, right.any(0))
    assert int(forgotten.sum()) > 0


def replayed_predictions(ctx):
    """(epochs, N): whether each image was right when its batch came up."""
    right = torch.zeros(PLAN.epochs, len(ctx.train), dtype=torch.bool)

    def note(epoch, network, index, logits):
        right[epoch, index] = logits.argmax(1) == ctx.train.labels[index]

    replay(ctx, note)
    return right


def replay(ctx, note):
    """The training by plain autograd; ``note(epoch, network, index, logits)`` before each step."""
    streams = Streams(PLAN.seed).child("prepared", PLAN.network, PLAN.member)
    with streams.initialisation("network"):
        network = build(PLAN.network, 3, 3, 8)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=PLAN.learning_rate, momentum=0.9, weight_decay=5e-4
    )
    for epoch in range(PLAN.epochs):
        order = torch.randperm(len(ctx.train), generator=streams.generator("order", epoch))
        for index in order.split(PLAN.batch_size):
            labels = ctx.train.labels[index]
            logits = network(ctx.normalised(index))
            note(epoch, network, index, logits)
            optimiser.zero_grad()
            F.cross_entropy(logits, labels).backward()
            optimiser.step()


def test_a_damaged_asset_is_made_again(tmp_path):
    ctx = context(blobs(), tmp_path)
    first = train(tmp_path, ctx)
    (stored,) = (tmp_path / "cpu").iterdir()
    stored.write_bytes(stored.read_bytes()[:100])
    again = train(tmp_path, ctx)
    assert all(torch.equal(first.parameters[k], again.parameters[k]) for k in first.parameters)


@pytest.mark.parametrize(("images", "epochs"), [(1000, 10), (20, 40), (50_000, 6)])
def test_small_datasets_get_more_epochs(images, epochs):
    plan = TrainingPlan(network="ConvNetD2", epochs=6, min_steps=40, batch_size=256)
    assert plan.total_epochs(images) == epochs


def test_the_learning_rate_falls_where_the_plan_says():
    plan = TrainingPlan(network="ConvNetD2", epochs=6, falls=(2 / 3, 5 / 6))
    rates = [plan.rate_in(epoch, 256) for epoch in range(6)]
    assert rates == pytest.approx([0.01] * 4 + [0.002, 0.0004])


def test_a_schedule_and_an_augmentation_change_the_training_and_not_its_start(tmp_path):
    ctx = context(blobs(), tmp_path)
    plans = [PLAN, replace(PLAN, falls=(0.5,)), replace(PLAN, augmentation="colour_crop")]
    found = [ctx.trained_network(plan) for plan in plans]
    starts = [f.untrained(ctx.facts, ctx.runtime).classifier.weight for f in found]
    ends = [f.parameters["classifier.weight"] for f in found]
    for other in (1, 2):
        assert torch.equal(starts[0], starts[other])
        assert not torch.equal(ends[0], ends[other])
    assert not torch.equal(starts[0], ends[0])


def test_the_network_is_the_trained_one(tmp_path):
    ctx = context(blobs(), tmp_path)
    found = train(tmp_path, ctx)
    network = found.network(ctx.facts, ctx.runtime)
    assert not network.training
    untrained = build("ConvNetD2", 3, 3, 8)
    assert not torch.equal(network.classifier.weight, untrained.classifier.weight)


def test_early_scores_are_those_of_the_replayed_training(tmp_path):
    """Error and last-layer gradient by plain autograd, image by image, in the second epoch."""
    ctx = context(blobs(noise=0.95), tmp_path)
    found = train(tmp_path, ctx)
    assert list(PLAN.early_epochs(60)) == [1]
    el2n, grand = replayed_scores(ctx, epoch=1)
    torch.testing.assert_close(found.el2n, el2n, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found.grand, grand, rtol=1e-3, atol=1e-5)


def replayed_scores(ctx, epoch):
    el2n, grand = (torch.zeros(len(ctx.train), dtype=torch.float64) for _ in range(2))

    def score(network, index):
        for image in index.tolist():
            logits = network(ctx.normalised(torch.tensor([image])))
            label = ctx.train.labels[image : image + 1]
            loss = F.cross_entropy(logits, label)
            last = network.classifier
            found = torch.autograd.grad(loss, [last.weight, last.bias], retain_graph=True)
            grand[image] = torch.cat([g.flatten() for g in found]).norm()
            el2n[image] = torch.autograd.grad(loss, logits)[0].norm()

    replay(ctx, lambda at, network, index, logits: at == epoch and score(network, index))
    return el2n, grand


@pytest.mark.parametrize(
    ("epochs", "early"), [(1, [0]), (2, [1]), (3, [1]), (4, [1]), (5, [1, 2]), (10, [1, 2, 3, 4])]
)
def test_early_epochs_leave_out_the_first(epochs, early):
    assert list(TrainingPlan(network="ConvNetD2", epochs=epochs).early_epochs(100)) == early


def test_loading_a_network_disturbs_no_other_thread(tmp_path):
    """Making a network draws random numbers, even if its weights are replaced right away."""
    ctx = context(blobs(), tmp_path)
    trained = train(tmp_path, ctx)

    def draw(position):
        with Streams(1).initialisation("student", position):
            return torch.cat([torch.rand(50) for _ in range(200)])

    def load(_):
        for _ in range(20):
            trained.network(ctx.facts, ctx.runtime)

    alone = [draw(position) for position in range(8)]
    with ThreadPoolExecutor(4) as pool:
        loading = [pool.submit(load, n) for n in range(2)]
        together = list(pool.map(draw, range(8)))
        assert all(done.result() is None for done in loading)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
