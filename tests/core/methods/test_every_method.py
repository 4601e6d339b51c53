"""What every base method must do, whichever it is; walks the registry."""

import pytest
import torch

from dcpi_core.checkpoint import load_tensors, pack, save_tensors, unpack
from dcpi_core.registry import METHODS
from tests.core.problems import CLASSES, SIDE, context

SMALL = {
    "iterations": 2,
    "outer_loops": 3,
    "inner_epochs": 2,
    "warmup_networks": 1,
    "training_steps": 2,
    "new_network_every": 1,
    "queue_length": 4,
    "window": 2,
    "watch_batch": 5,
    "real_batch": 7,
    "frequencies": 16,
    "pool_networks": 2,
    "pool_epochs": 2,
    "proxy_epochs": 8,
    "proxy_min_steps": 0,
}
"""Options that make a method's work small, where it has them."""


def method_of(entry):
    known = entry.options.model_fields
    return entry.target(entry.options(**{k: v for k, v in SMALL.items() if k in known}))


def run(method, ctx, steps=None):
    state = method.init(ctx)
    for number in range(method.total_steps(ctx) if steps is None else steps):
        metrics = method.step(state, number, ctx)
        assert all(isinstance(value, float) for value in metrics.values())
    return state


every_method = pytest.mark.parametrize("entry", list(METHODS), ids=lambda entry: entry.name)


@every_method
def test_gives_the_budget_class_by_class(entry, source, assets):
    ctx = context(source, assets)
    method = method_of(entry)
    condensed = method.finish(run(method, ctx), ctx)
    assert condensed.images.shape == (2 * CLASSES, 3, SIDE, SIDE)
    assert condensed.images.dtype == torch.float32
    assert torch.equal(condensed.labels, torch.tensor([0, 0, 1, 1, 2, 2]))
    assert bool(condensed.images.isfinite().all())
    assert condensed.privileged == ()


@every_method
def test_selected_images_are_the_ones_at_their_indices(entry, source, assets):
    ctx = context(source, assets)
    method = method_of(entry)
    condensed = method.finish(run(method, ctx), ctx)
    if condensed.source_indices is None:
        assert "loss" in method.step(method.init(ctx), 0, ctx)  # synthesised, then
        return
    index = condensed.source_indices
    assert len(index.unique()) == len(index)
    assert torch.equal(condensed.images, source.normalise(source.train.images[index]))
    assert torch.equal(condensed.labels, source.train.labels[index])


@every_method
def test_same_seed_same_bits(entry, source, assets):
    first, second = (
        method_of(entry).finish(run(method_of(entry), ctx), ctx)
        for ctx in (context(source, assets), context(source, assets))
    )
    assert torch.equal(first.images, second.images)


@every_method
def test_another_seed_is_another_run(entry, source, assets):
    method, sets = method_of(entry), []
    for seed in range(4):
        ctx = context(source, assets, seed=seed)
        sets.append(method.finish(run(method, ctx), ctx).images)
    assert not all(torch.equal(sets[0], other) for other in sets[1:])


@every_method
def test_resumes_bit_exactly_at_every_step(entry, source, assets, tmp_path):
    """H10: run n steps = run k, save, load into a new method, run the rest."""
    ctx = context(source, assets)
    total = method_of(entry).total_steps(ctx)
    whole = method_of(entry).finish(run(method_of(entry), ctx), ctx)
    for stop in range(total):
        tensors, values = pack(run(method_of(entry), ctx, stop))
        save_tensors(tmp_path / "state", tensors, values)
        again = method_of(entry)
        state = unpack(again.state_type, *load_tensors(tmp_path / "state"))
        for number in range(stop, total):
            again.step(state, number, ctx)
        assert torch.equal(again.finish(state, ctx).images, whole.images)


def test_the_walk_saw_them_all():
    assert {
        "random",
        "herding",
        "k_center",
        "forgetting",
        "dc",
        "dsa",
        "dm",
        "datadam",
        "dcc",
        "dsac",
        "idm",
        "cafe",
        "ncfm",
    } <= {e.name for e in METHODS}
