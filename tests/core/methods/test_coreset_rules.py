"""Every rule against its definition written out, and what every rule must do on any class."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dcpi_core.methods.coreset.glister import GlisterOptions
from dcpi_core.ops.validation_gain import Validation
from dcpi_core.registry import METHODS
from dcpi_core.rng import Streams
from dcpi_core.signals import Signals
from tests.core.ops import naive_selection as naive
from tests.core.ops.naive_selection import normal, written_out
from tests.core.problems import signals_of

RULES = [entry for entry in METHODS if ".coreset." in entry.target.__module__]
every_rule = pytest.mark.parametrize("entry", RULES, ids=lambda entry: entry.name)


def draw():
    return Streams(0).generator("selection")


def signals(
    n, *, seed=0, classes=4, width=5, dtype=torch.float64, repeated=1, mixed=False
) -> Signals:
    """Random signals of one class, or of all; with ``repeated`` every image is there that often."""
    pool = torch.arange(n) % max(1, -(-n // repeated))
    labels = pool % classes if mixed else torch.ones(n, dtype=torch.int64)
    forgetting = normal(n, 1, seed=seed + 2).abs().squeeze(1).mul(3).long()
    free = torch.ones(n, dtype=torch.bool)
    validation = Validation(
        normal(6, classes, seed=seed + 5, dtype=dtype),
        torch.arange(6) % classes,
        normal(6, width, seed=seed + 6, dtype=dtype).relu(),
    )
    features = normal(n, width, seed=seed, dtype=dtype).relu()[pool]
    return Signals(
        labels=labels,
        features=features,
        inputs=features,
        logits=normal(n, classes, seed=seed + 1, dtype=dtype)[pool],
        forgetting=forgetting[pool],
        learned=(normal(n, 1, seed=seed + 3) > -1).squeeze(1)[pool],
        el2n=normal(n, 1, seed=seed + 4).abs().squeeze(1)[pool],
        grand=normal(n, 1, seed=seed + 7).abs().squeeze(1)[pool],
        validation=validation,
        held_out=~free,
    )


def pick(name, found, count, **options):
    entry = METHODS.get(name)
    return entry.target(entry.options(**options)).pick(found, count, draw()).tolist()


@st.composite
def problems(draw_value):
    n = draw_value(st.integers(1, 12))
    seed = draw_value(st.integers(0, 10_000))
    repeated = draw_value(st.sampled_from([1, 1, 2, 3]))
    width = draw_value(st.integers(1, 6))
    mixed = draw_value(st.booleans())  # a free choice
    found = signals(n, seed=seed, width=width, repeated=repeated, mixed=mixed)
    return found, draw_value(st.integers(1, n))


def by_score(score, count):
    """Highest first; the lower index of equals."""
    return sorted(range(len(score)), key=lambda i: (-round(score[i], 12), i))[:count]


def probabilities(found):
    return [[math.exp(v - max(row)) for v in row] for row in found.logits.tolist()]


def softmax(found):
    return [[v / sum(row) for v in row] for row in probabilities(found)]


@given(problems())
@settings(max_examples=60, deadline=None)
def test_rules_that_score_images_are_their_definitions(problem):
    found, count = problem
    rows = softmax(found)
    entropy = [-sum(p * math.log(p) for p in row) for row in rows]
    lead = [sorted(row)[-1] - sorted(row)[-2] for row in rows]
    assert pick("least_confidence", found, count) == by_score([-max(r) for r in rows], count)
    assert pick("entropy", found, count) == by_score(entropy, count)
    assert pick("margin", found, count) == by_score([-v for v in lead], count)
    assert pick("el2n", found, count) == by_score(found.el2n.tolist(), count)
    assert pick("grand", found, count) == by_score(found.grand.tolist(), count)


@given(problems())
@settings(max_examples=60, deadline=None)
def test_forgetting_is_its_definition(problem):
    found, count = problem
    events = [
        number if learned else math.inf
        for number, learned in zip(found.forgetting.tolist(), found.learned.tolist(), strict=True)
    ]
    errors = found.el2n.tolist()
    wanted = sorted(range(len(events)), key=lambda i: (-events[i], -errors[i], i))[:count]
    assert pick("forgetting", found, count) == wanted


@given(problems(), st.sampled_from(["gradients", "features"]))
@settings(max_examples=60, deadline=None)
def test_submodular_rules_are_their_definitions(problem, space):
    found, count = problem
    similarity = naive.cosine_similarity(written_out(found.vectors(space)))
    wanted = naive.facility_location(similarity, count)
    assert pick("facility_location", found, count, space=space) == wanted
    assert pick("graph_cut", found, count, space=space) == naive.graph_cut(similarity, count)
    one = pick("graph_cut", found, count, space=space, redundancy="one")
    assert one == naive.graph_cut(similarity, count, 1.0)


@given(problems())
@settings(max_examples=60, deadline=None)
def test_rules_of_gradients_are_their_definitions(problem):
    found, count = problem
    full = written_out(found.gradients())
    assert pick("gradmatch", found, count) == naive.gradmatch(full, count, 1e-3)
    nearest = pick("craig", found, count)
    if len(full.unique(dim=0)) == len(full):  # float32 cannot tell the last of many copies apart
        assert nearest == naive.craig(full, count)


@given(problems(), st.floats(0.001, 1.0))
@settings(max_examples=60, deadline=None)
def test_glister_takes_the_steps_it_imagines(problem, step):
    found, count = problem
    wanted = naive.glister(found.logits, found.labels, found.inputs, found.validation, count, step)
    assert pick("glister", found, count, step_size=step) == wanted


@every_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_smaller_selection_is_a_prefix(entry, dtype):
    found = signals(30, dtype=dtype)
    largest = pick(entry.name, found, 30)
    assert sorted(largest) == list(range(30))  # a budget of the whole class takes all of it
    for count in (1, 7, 29):
        assert pick(entry.name, found, count) == largest[:count]


@every_rule
def test_equal_images_are_picked_by_index(entry):
    """Every image three times over; random alone does not look at them."""
    if entry.name == "random":
        return
    order = pick(entry.name, signals(30, repeated=3), 30)
    for copy in range(10):
        same = [order.index(i) for i in (copy, copy + 10, copy + 20)]
        assert same == sorted(same)


@every_rule
def test_a_class_of_one_image(entry):
    assert pick(entry.name, signals(1), 1) == [0]


@every_rule
def test_a_class_of_which_the_proxy_is_certain(entry):
    """Every error is zero, so every gradient is: nothing to tell images apart by, but no crash."""
    certain = torch.tensor([[0.0, 5000.0, 0.0]]).repeat(6, 1)
    found = signals(6, classes=3, dtype=torch.float32)
    found = replace(found, logits=certain)
    assert sorted(pick(entry.name, found, 6)) == list(range(6))


class TestWeights:
    """Of the rules that define them: not negative, as many as there are images in all."""

    def of(self, name, found, picked):
        entry = METHODS.get(name)
        return entry.target(entry.options()).weigh(found, torch.tensor(picked))

    @given(problems())
    @settings(max_examples=40, deadline=None)
    def test_a_craig_pick_counts_for_the_images_it_is_nearest_to(self, problem):
        found, count = problem
        picked = pick("craig", found, count)
        full = written_out(found.gradients())
        apart = (full.unsqueeze(1) - full[picked].unsqueeze(0)).norm(dim=2)
        weights = self.of("craig", found, picked).tolist()
        assert sum(weights) == len(found)
        clear = apart.topk(2, largest=False).values if count > 1 else None
        if clear is None or bool((clear[:, 1] - clear[:, 0] > 1e-5).all()):
            nearest = apart.argmin(1).tolist()
            assert weights == [nearest.count(position) for position in range(count)]

    @given(problems())
    @settings(max_examples=40, deadline=None)
    def test_gradmatch_weights_bring_the_picks_nearest_to_the_mean(self, problem):
        found, count = problem
        picked = pick("gradmatch", found, count)
        weights = self.of("gradmatch", found, picked)
        assert bool((weights >= 0).all())
        assert float(weights.sum()) == pytest.approx(len(found))
        full = written_out(found.gradients())
        ridge = 1e-3 * full.square().sum(1).mean()

        def loss(own):  # at the best common factor, since the sum is fixed
            sum_, mean = own @ full[picked], full.mean(0)
            factor = (sum_ @ mean) / (sum_ @ sum_ + ridge * own.square().sum())
            return float(
                (mean - factor * sum_).square().sum() + ridge * (factor * own).square().sum()
            )

        for seed in range(5):
            other = (weights + normal(1, count, seed=seed)[0] * 0.3 * weights.mean()).clamp(min=0)
            assert loss(weights) <= loss(other) + 1e-9

    def test_gradients_of_nothing_give_equal_weights(self):
        certain = torch.tensor([[0.0, 5000.0, 0.0]]).repeat(6, 1)
        found = replace(signals(6, classes=3, dtype=torch.float32), logits=certain)
        assert self.of("gradmatch", found, [0, 1, 2]).tolist() == [2, 2, 2]


def test_the_walk_saw_them_all():
    assert len(RULES) == 14


class TestGlister:
    def test_held_out_images_come_last(self):
        found = signals(8)
        held_out = torch.zeros(8, dtype=torch.bool)
        held_out[[1, 4]] = True
        found = replace(found, held_out=held_out)
        order = pick("glister", found, 8)
        assert order[6:] == [1, 4]
        assert pick("glister", found, 7) == order[:7]

    def test_the_slope_is_measured_anew(self):
        """Published code keeps the one of the start, as here with a step of almost nothing."""
        found = signals(200, width=8)
        start = pick("glister", found, 30, step_size=1e-9)
        assert pick("glister", found, 30, step_size=GlisterOptions().step_size * 50) != start


class TestDirections:
    """Which end of the score is kept, on points one can see."""

    logits = torch.tensor([[4.0, 0.0, 0.0], [1.0, 0.9, -9.0], [0.5, 0.2, 0.2]])

    def of(self, name):
        return pick(name, signals_of(3, logits=self.logits), 3)

    def test_least_confident_first(self):
        assert self.of("least_confidence") == [2, 1, 0]

    def test_highest_entropy_first(self):
        assert self.of("entropy") == [2, 1, 0]

    def test_smallest_margin_first(self):
        assert self.of("margin") == [1, 2, 0]

    def test_confidence_is_a_probability_not_a_logit(self):
        logits = torch.tensor([[9.0, 9.0, 9.0], [1.0, -9.0, -9.0]])
        assert pick("least_confidence", signals_of(2, logits=logits), 2) == [0, 1]
