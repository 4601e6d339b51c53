"""What the shared part of all selection rules promises: groups, order, budget."""

import re
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch

from dcpi_core.methods.coreset import select as choose
from dcpi_core.methods.coreset.base import CoresetOptions, ProxyOptions
from dcpi_core.methods.coreset.forgetting import Forgetting, ForgettingOptions
from dcpi_core.methods.coreset.herding import Herding
from dcpi_core.methods.coreset.k_center import KCenter
from dcpi_core.methods.coreset.random import Random
from dcpi_core.ops.validation_gain import Validation
from dcpi_core.registry import METHODS
from dcpi_core.rng import Streams
from dcpi_core.signals import Signals
from dcpi_core.spec.errors import InvalidInput, UnknownName
from tests.core.problems import CLASSES, blobs, context, signals_of

DRAW = Streams(0).generator("unused")
RULES = [entry for entry in METHODS if ".coreset." in entry.target.__module__]


@pytest.mark.parametrize(
    ("never_learned", "order"), [("inf", [2, 3, 1, 5, 0, 4]), ("zero", [3, 1, 5, 0, 2, 4])]
)
def test_forgetting_takes_the_never_learned_as_asked_then_the_most_forgotten(never_learned, order):
    signals = signals_of(
        6,
        forgetting=torch.tensor([1, 3, 0, 3, 0, 3]),
        learned=torch.tensor([True, True, False, True, True, True]),
        el2n=torch.tensor([0.1, 0.2, 0.9, 0.4, 0.3, 0.2]),
    )
    rule = Forgetting(ForgettingOptions(never_learned=never_learned))
    assert rule.pick(signals, 6, DRAW).tolist() == order  # ties: the larger error, then the index


def test_herding_follows_the_mean():
    features = torch.tensor([[0.0], [1.0], [2.0], [9.0]])  # mean 3
    signals = signals_of(4, features=features)
    assert Herding(ProxyOptions()).pick(signals, 1, DRAW).tolist() == [2]


def test_k_center_starts_at_the_centre_and_goes_far():
    features = torch.tensor([[0.0], [5.0], [6.0], [10.0]])  # mean 5.25
    signals = signals_of(4, features=features)
    assert KCenter(ProxyOptions()).pick(signals, 3, DRAW).tolist() == [1, 0, 3]


@pytest.fixture(scope="module")
def source():
    return blobs(noise=0.9)


def select(entry, ctx, balance):
    """The condensed set of a rule, made as the pipeline makes it."""
    small = {"proxy_epochs": 3, "proxy_min_steps": 0, "balance": balance}
    own = {name: value for name, value in small.items() if name in entry.options.model_fields}
    return run(entry.target(entry.options(**own)), ctx)


def run(method, ctx):
    state = method.init(ctx)
    for number in range(method.total_steps(ctx)):
        method.step(state, number, ctx)
    return method.finish(state, ctx)


@pytest.mark.parametrize("entry", RULES, ids=lambda entry: entry.name)
class TestEveryRule:
    def chosen(self, entry, source, assets, per_class, balance):
        ctx = context(source, assets, per_class=per_class, network="MLP")
        return select(entry, ctx, balance).source_indices

    def test_a_smaller_coreset_is_a_prefix_of_a_larger_one(self, entry, source, assets):
        small, large = (self.chosen(entry, source, assets, n, "class") for n in (2, 5))
        assert torch.equal(large.view(CLASSES, 5)[:, :2], small.view(CLASSES, 2))

    def test_and_so_is_one_chosen_without_regard_to_class(self, entry, source, assets):
        small, large = (self.chosen(entry, source, assets, n, "free") for n in (2, 5))
        assert len(large.unique()) == 5 * CLASSES
        assert torch.equal(large[: 2 * CLASSES], small)

    @pytest.mark.parametrize("balance", ["class", "free"])
    def test_the_library_call_is_what_a_job_does(self, entry, source, assets, balance):
        """Indices and weights, in order, from signals that were made before."""
        weighted = {"weighted": True} if "weighted" in entry.options.model_fields else {}
        small = {"proxy_epochs": 3, "proxy_min_steps": 0}
        own = {name: value for name, value in small.items() if name in entry.options.model_fields}
        ctx = context(source, assets, per_class=3, network="MLP")
        method = entry.target(entry.options(balance=balance, **own, **weighted))
        plans = method.needs(ctx)
        signals = ctx.signals(plans[0]) if plans else Signals.of_labels(source.train.labels)
        expected = run(method, ctx)
        found = choose(signals, 3, entry.name, balance=balance, **weighted)
        assert torch.equal(found.indices, expected.source_indices)
        assert (found.weights is None) == (not weighted)
        if weighted:
            assert torch.equal(found.weights, expected.weights)
        by_object = choose(signals, 3, entry.target(entry.options(balance=balance)))
        assert torch.equal(by_object.indices, found.indices)

    def test_a_free_choice_of_everything_is_everything(self, entry, source, assets):
        assert sorted(self.chosen(entry, source, assets, 20, "free").tolist()) == list(range(60))


@pytest.mark.parametrize("entry", RULES, ids=lambda entry: entry.name)
class TestSignals:
    """A rule asks for what it reads and looks at nothing else."""

    labels = torch.tensor([0, 1] * 10)
    known: ClassVar[dict[str, Any]] = {
        "features": torch.rand(20, 3, generator=torch.Generator().manual_seed(0)),
        "logits": torch.rand(20, 2, generator=torch.Generator().manual_seed(1)),
        "forgetting": torch.arange(20) % 4,
        "learned": torch.arange(20) % 5 > 0,
        "el2n": torch.linspace(0, 1, 20),
        "grand": torch.linspace(1, 0, 20),
    }

    def signals(self, names, **changed):
        found = Signals.of_labels(self.labels)
        return replace(found, **{name: (self.known | changed)[name] for name in names})

    def all_of(self, **changed):
        inputs = (self.known | changed)["features"]
        return replace(self.signals(self.known, **changed), inputs=inputs)

    def test_what_it_reads_is_enough(self, entry):
        reads = entry.target(entry.options()).reads
        names = {"features" if name == "inputs" else name for name in reads}
        some = self.signals(names)
        if "inputs" in reads:
            some = replace(some, inputs=self.known["features"])
        assert torch.equal(
            choose(some, 3, entry.name).indices, choose(self.all_of(), 3, entry.name).indices
        )

    def test_what_is_missing_is_named(self, entry):
        for name in entry.target(entry.options()).reads:
            found = replace(self.all_of(), **{name: torch.empty(20, 0)})
            with pytest.raises(InvalidInput, match=f"goes by {name}, which these signals lack"):
                choose(found, 3, entry.name)

    def test_what_is_not_finite_or_too_short_is_named(self, entry):
        for name in entry.target(entry.options()).reads:
            good = getattr(self.all_of(), name)
            with pytest.raises(InvalidInput, match=f"{name}: of 19 images, labels of 20"):
                choose(replace(self.all_of(), **{name: good[1:]}), 3, entry.name)
            if good.is_floating_point():
                bad = good.clone()
                bad[7] = torch.nan
                with pytest.raises(InvalidInput, match=f"{name}: a value is NaN or infinite"):
                    choose(replace(self.all_of(), **{name: bad}), 3, entry.name)


def test_a_free_choice_gives_each_class_what_the_rule_gives_it(tmp_path, source):
    ctx = context(source, tmp_path, per_class=4)
    found = select(METHODS.get("random"), ctx, "free")
    counts = found.labels.bincount(minlength=CLASSES)
    assert int(counts.sum()) == 4 * CLASSES
    assert counts.tolist() != [4] * CLASSES  # drawn with this seed; a balanced draw is rare
    assert torch.equal(found.images, ctx.normalised(found.source_indices))
    assert Random(CoresetOptions(balance="free")).total_steps(ctx) == 1


class TestLibraryCall:
    signals = Signals.of_labels(torch.tensor([0, 0, 0, 1, 1, 2, 2, 2]))

    def test_the_seed_is_what_a_random_choice_depends_on(self):
        first, again, other = (
            choose(self.signals, 2, "random", seed=seed).indices for seed in (0, 0, 1)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert self.signals.labels[first].tolist() == [0, 0, 1, 1, 2, 2]

    @pytest.mark.parametrize(
        ("budget", "options", "message"),
        [
            (3, {}, r"budget must be 1 to 2 images per class, as many as the smallest class has"),
            (0, {}, "budget must be 1 to 2 images per class"),
            (3, {"balance": "free"}, "budget must be 1 to 2 images per class: 3"),
            (1, {"balance": "none"}, "random: balance: .*'class' or 'free'"),
            (1, {"ballance": "free"}, "random: ballance: .*; options: balance"),
        ],
    )
    def test_what_cannot_be_had_is_told(self, budget, options, message):
        with pytest.raises(InvalidInput, match=message):
            choose(self.signals, budget, "random", **options)

    @pytest.mark.parametrize("name", ["dc", "kcenter"])
    def test_what_is_no_rule_is_told_the_rules(self, name):
        message = f"unknown coreset rule '{name}'; available: craig, el2n"
        with pytest.raises(UnknownName, match=message):
            choose(self.signals, 1, name)

    def test_options_of_a_proxy_that_is_trained_already(self):
        with pytest.raises(InvalidInput, match="proxy_epochs: the proxy is trained already"):
            choose(self.signals, 1, "herding", proxy_epochs=3)

    def test_classes_without_images(self):
        with pytest.raises(InvalidInput, match="every class from 0"):
            choose(Signals.of_labels(torch.tensor([0, 2])), 1, "random")
        with pytest.raises(InvalidInput, match="no images"):
            choose(Signals.of_labels(torch.tensor([], dtype=torch.int64)), 1, "random")

    def test_validation_images_of_the_callers_own(self):
        features, logits = torch.randn(8, 4), torch.randn(8, 3)
        own = Signals.of_labels(self.signals.labels, features=features, logits=logits)
        own = replace(own, validation=Validation(logits[:3], own.labels[:3], features[:3]))
        assert len(choose(own, 2, "glister").indices.unique()) == 6

    def test_a_rule_has_its_options_already(self):
        with pytest.raises(InvalidInput, match="has its own already"):
            choose(self.signals, 1, Random(CoresetOptions()), balance="free")

    def test_the_example_of_the_docs(self, root, tmp_path, monkeypatch):
        text = (root / "docs" / "coresets.md").read_text()
        (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        monkeypatch.chdir(tmp_path)
        names: dict[str, Any] = {}
        exec(compile(code, "docs/coresets.md", "exec"), names)
        assert names["images"].shape == (50, 1, 8, 8)
        assert len(names["chosen"].indices.unique()) == 50
