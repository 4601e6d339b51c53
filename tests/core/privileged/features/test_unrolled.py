"""Feature labels learned through training: what they do, and what a checkpoint of them keeps."""

from dataclasses import replace

import pytest
import torch

from dcpi_core.checkpoint import load_tensors, pack, save_tensors, unpack
from dcpi_core.condensed import CondensedSet
from dcpi_core.privileged.features.attention import AttentionOptions, SpatialAttention
from dcpi_core.privileged.features.feature import Feature, FeatureOptions, FeatureState
from tests.core.graphs import most_bytes_kept
from tests.core.problems import blobs, context

SMALL = {
    "storage": "float32",
    "teacher_epochs": 2,
    "teacher_min_steps": 0,
    "learning": "unrolled",
    "unrolled_updates": 6,
    "unrolled_window": 3,
    "unrolled_students": 3,
    "unrolled_real_images": 12,
}


def learned(kind, condensed, ctx, state=None, steps=None):
    state = kind.init(condensed, ctx) if state is None else state
    wanted = range(kind.total_steps(ctx)) if steps is None else steps
    return state, [kind.step(state, condensed, number, ctx) for number in wanted]


def feature(**changes):
    return Feature(FeatureOptions(**(SMALL | changes)))


def test_students_come_to_lose_less_on_real_images(ctx, condensed):
    kind = feature(unrolled_updates=24, unrolled_rate=0.05, regression_weight=30.0)
    state, told = learned(kind, condensed, ctx)
    losses = [found["loss"] for found in told]
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])  # each student four times
    assert told[-1]["label_drift"] > 0.1
    assert kind.finish(state).images is None
    assert torch.equal(kind.assigned(state).values, state.start.mean(0))


def test_first_trainings_end_early_so_that_students_come_apart(ctx, condensed):
    """301 steps make a training; first ones end after 100, 200 and 301."""
    kind = feature()
    state, _ = learned(
        kind, condensed, ctx, steps=range(3)
    )  # a window of three steps for each pair
    for steps, ended in (([98] * 3, 0), ([198] * 3, 1), ([299] * 3, 2)):
        state.pupils["steps"] = torch.tensor(steps)
        state.pupils["lives"] = torch.zeros(3, dtype=torch.int64)
        learned(kind, condensed, ctx, state, range(3, 5))  # turns of students 0 and 1, 2 and 0
        lives = state.pupils["lives"].tolist()
        assert [bool(life) for life in lives] == [number <= ended for number in range(3)]


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(ctx, condensed, tmp_path):
    kind = feature()
    whole, _ = learned(kind, condensed, ctx)
    part, _ = learned(kind, condensed, ctx, steps=range(4))
    save_tensors(tmp_path / "state", *pack(part))
    resumed = unpack(FeatureState, *load_tensors(tmp_path / "state"))
    resumed, _ = learned(kind, condensed, ctx, resumed, range(4, 6))
    assert torch.equal(resumed.values, whole.values)
    assert all(torch.equal(resumed.pupils[name], own) for name, own in whole.pupils.items())


def test_the_rate_falls_to_zero(ctx, condensed):
    """Adam's first step is of size one whatever the gradient; the last is a sixth of it."""
    kind = feature()
    state, told = learned(kind, condensed, ctx, steps=range(1))
    assert told[0]["label_drift"] == pytest.approx(FeatureOptions().unrolled_rate, rel=1e-3)
    before = state.values
    learned(kind, condensed, ctx, state, range(5, 6))
    moved = float((state.values - before).abs().max() / state.start.square().mean().sqrt())
    # At most 1 / 6 of the first rate times Adam's largest step after few gradients.
    assert 0 < moved < 0.5 * FeatureOptions().unrolled_rate


@pytest.mark.parametrize("combine", ["mean", "random"])
def test_several_labels_of_an_image_are_learned_at_once(ctx, condensed, combine):
    kind = feature(labels_per_image=2, combine=combine, unrolled_updates=2)
    state, _ = learned(kind, condensed, ctx)
    moved = (state.values - state.start).flatten(1).norm(dim=1)
    assert bool((moved > 0).all())
    assert kind.finish(state).labels.values.shape[: 1 + (combine == "random")] == (
        (6, 2) if combine == "random" else (6,)
    )


def test_attention_is_learned_through_its_pooling(ctx, condensed):
    kind = SpatialAttention(AttentionOptions(**(SMALL | {"unrolled_updates": 2})))
    state, _ = learned(kind, condensed, ctx)
    made = kind.finish(state).labels
    assert made.values.shape[1] == 1
    assert not torch.equal(made.values, kind.assigned(state).values)


def test_what_is_learned_does_not_depend_on_the_number_of_threads(ctx, condensed):
    alone = replace(ctx, runtime=replace(ctx.runtime, threads=1))
    beside = replace(ctx, runtime=replace(ctx.runtime, threads=2))
    kind = feature(unrolled_updates=2)
    one, two = (learned(kind, condensed, own)[0].values for own in (alone, beside))
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


def test_little_memory_changes_nothing_but_rounding(ctx, condensed):
    """Graphs of one step at a time, where there were three."""

    def found(batch):
        own = replace(ctx, runtime=replace(ctx.runtime, threads=1, micro_batch=batch))
        state = None

        def learn():
            nonlocal state
            state, _ = learned(feature(unrolled_updates=1), condensed, own)

        kept = most_bytes_kept(learn)
        return state.values, kept

    (whole, much), (pieces, little) = found(None), found(1)
    torch.testing.assert_close(pieces, whole, rtol=1e-3, atol=1e-4)
    assert little < 0.6 * much


def test_students_may_have_batch_norm(tmp_path):
    ctx = context(blobs(), tmp_path, network="ConvNetD2BN")
    condensed = CondensedSet(ctx.normalised(torch.arange(0, 60, 10)), ctx.hard_labels())
    state, told = learned(feature(unrolled_updates=2), condensed, ctx)
    assert bool(torch.isfinite(state.values).all())
    assert told[-1]["label_drift"] > 0
