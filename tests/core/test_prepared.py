import pytest
import torch

from dcpi_core.networks import build
from dcpi_core.prepared import Assets, TrainingPlan
from tests.core.problems import blobs, context

PLAN = TrainingPlan(network="ConvNetD2", epochs=4, batch_size=16)


def train(root, ctx, on_step=None):
    return Assets(root).trained_network(PLAN, ctx.train, ctx.facts, ctx.runtime, on_step)


def test_a_network_is_trained_once_and_then_read(tmp_path):
    ctx = context(blobs(), tmp_path)
    steps = []
    first = train(tmp_path, ctx, lambda *at: steps.append(at))
    assert steps[-1][:2] == (16, 16)  # 60 images in batches of 16, four epochs
    again = train(tmp_path, ctx, lambda *at: pytest.fail("trained twice"))
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


def test_another_plan_or_dataset_is_another_asset():
    digests = {
        PLAN.digest("a"),
        PLAN.digest("b"),
        TrainingPlan(network="ConvNetD2", epochs=5, batch_size=16).digest("a"),
    }
    assert len(digests) == 3


def test_forgetting_counts_changes_from_right_to_wrong(tmp_path):
    """Replayed by hand: predictions before every step, epoch by epoch."""
    ctx = context(blobs(), tmp_path)
    found = train(tmp_path / "a", ctx)
    assert int(found.forgetting.max()) <= PLAN.epochs // 2
    assert bool((found.forgetting[~found.learned] == 0).all())  # never right, never forgotten


@pytest.mark.parametrize(("images", "epochs"), [(1000, 10), (20, 40), (50_000, 6)])
def test_small_datasets_get_more_epochs(images, epochs):
    plan = TrainingPlan(network="ConvNetD2", epochs=6, min_steps=40, batch_size=256)
    assert plan.total_epochs(images) == epochs


def test_the_network_is_the_trained_one(tmp_path):
    ctx = context(blobs(), tmp_path)
    found = train(tmp_path, ctx)
    network = found.network(ctx.facts, ctx.runtime)
    assert not network.training
    untrained = build("ConvNetD2", 3, 3, 8)
    assert not torch.equal(network.classifier.weight, untrained.classifier.weight)
