"""Datasets at the edge: each either works or is refused before anything is trained."""

import pytest
import torch
from pydantic import ValidationError

from dcpi_core.datasets.base import ImageDataset, Split
from dcpi_core.evaluation.selection import describe_selection
from dcpi_core.methods.coreset.base import hold_out
from dcpi_core.registry import METHODS
from dcpi_core.rng import Streams
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.dataset import DatasetFacts, License
from dcpi_core.spec.errors import BudgetError, InvalidInput
from dcpi_core.spec.job import JobRequest
from dcpi_core.spec.resolve import resolve
from tests.core.problems import context

RULES = [entry.name for entry in METHODS if ".coreset." in entry.target.__module__]


def facts(per_class=(6, 6), channels=3, height=8, width=8):
    return DatasetFacts(
        name="edge",
        title="noise",
        classes=tuple(f"class {number}" for number in range(len(per_class))),
        train_per_class=per_class,
        num_test=1,
        channels=channels,
        height=height,
        width=width,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        license=License(name="none", redistributable="yes"),
    )


def dataset(known):
    shape = (known.num_train, known.channels, known.height, known.width)
    draw = Streams(3).generator("noise")
    images = torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8)
    labels = torch.arange(known.num_classes).repeat_interleave(torch.tensor(known.train_per_class))
    return ImageDataset(known, Split(images, labels), Split(images[:1], labels[:1]))


def request(rule="herding", network=None, count=1):
    options = {"network": network} if network else {}
    return JobRequest.model_validate(
        {
            "dataset": "edge",
            "images_per_class": count,
            "base_method": rule,
            "pi_type": "none",
            "options": options,
        }
    )


def select(rule, known, place, network, **options):
    """Resolve as a job would be and run the rule; returns the set and its report."""
    spec = resolve(request(rule, network), known, load_catalog())
    ctx = context(dataset(known), place, per_class=1, network=spec.network)
    entry = METHODS.get(rule)
    wanted = {"proxy_epochs": 2, "proxy_min_steps": 0} | options
    own = {name: value for name, value in wanted.items() if name in entry.options.model_fields}
    method = entry.target(entry.options(**own))
    state = method.init(ctx)
    for number in range(method.total_steps(ctx)):
        method.step(state, number, ctx)
    condensed = method.finish(state, ctx)
    return condensed, describe_selection(condensed, method.needs(ctx), ctx)


EDGES = {
    "gray": (facts(channels=1), None),
    "gray, 28 pixels, padded to 32": (facts(channels=1, height=28, width=28), "MLP"),
    "not square": (facts(height=12, width=7), None),
    "three pixels": (facts(height=3, width=3), "ConvNetD1"),
    "one image of one class, 500 of another": (facts(per_class=(500, 1)), "MLP"),
    "a head of several layers": (facts(height=16, width=16), "LeNet"),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("edge", EDGES)
def test_works(rule, edge, assets):
    known, network = EDGES[edge]
    condensed, report = select(rule, known, assets, network)
    labels = dataset(known).train.labels
    assert labels[condensed.source_indices].tolist() == list(range(known.num_classes))
    assert report.stands_for == known.train_per_class
    lonely = [neighbour is None for neighbour in report.neighbours]
    assert lonely == [size == 1 for size in known.train_per_class]


@pytest.mark.parametrize("rule", RULES)
def test_a_free_choice_from_a_rare_class_and_a_common_one(rule, assets):
    """One image against 500: the choice may miss the rare class, and the report says so."""
    known = facts(per_class=(500, 1))
    condensed, report = select(rule, known, assets, "MLP", balance="free")
    counts = condensed.labels.bincount(minlength=2).tolist()
    assert sum(counts) == 2
    assert report.empty_classes == tuple(label for label in (0, 1) if not counts[label])


@pytest.mark.parametrize("rule", ["craig", "gradmatch"])
@pytest.mark.parametrize("edge", EDGES)
def test_weights_follow_the_size_of_a_class(rule, edge, assets):
    known, network = EDGES[edge]
    weights = select(rule, known, assets, network, weighted=True)[0].weights
    sizes = torch.tensor(known.train_per_class).float()
    torch.testing.assert_close(weights, sizes / sizes.mean())


@pytest.mark.parametrize("rule", RULES)
def test_a_class_smaller_than_its_budget_is_refused(rule):
    known = facts(per_class=(50, 4))
    with pytest.raises(
        BudgetError, match=r"5 images per class is impossible.*smallest class has 4"
    ):
        resolve(request(rule, count=5), known, load_catalog())


@pytest.mark.parametrize("rule", RULES)
def test_images_too_small_for_the_network_are_refused(rule):
    with pytest.raises(InvalidInput, match=r"needs images of at least 4 x 4 pixels.*3 x 3"):
        resolve(request(rule), facts(height=3, width=3), load_catalog())


def test_one_class_is_no_classification():
    with pytest.raises(ValidationError, match="at least 2 items"):
        facts(per_class=(9,))


class TestHeldOut:
    def held_out(self, ctx):
        return hold_out(ctx.train.labels, ctx.facts.num_classes, ctx.streams)

    def test_a_tenth_of_each_class(self, assets):
        known = facts(per_class=(40, 19, 9))
        mask = self.held_out(context(dataset(known), assets))
        assert [int(part.sum()) for part in mask.split([40, 19, 9])] == [4, 1, 0]

    def test_small_classes_spare_none(self, assets):
        assert not self.held_out(context(dataset(facts()), assets)).any()

    def test_is_drawn_by_the_seed(self, assets):
        source = dataset(facts(per_class=(100, 100)))
        first, again, other = (self.held_out(context(source, assets, seed=s)) for s in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
