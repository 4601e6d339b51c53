import pytest
import torch

from dcpi_core.methods.coreset.base import ClassSignals, ProxyOptions
from dcpi_core.methods.coreset.forgetting import Forgetting
from dcpi_core.methods.coreset.herding import Herding
from dcpi_core.methods.coreset.k_center import KCenter
from dcpi_core.rng import Streams
from tests.core.problems import blobs, context

DRAW = Streams(0).generator("unused")


def test_forgetting_takes_the_never_learned_first_then_the_most_forgotten():
    signals = ClassSignals(
        size=5,
        forgetting=torch.tensor([1, 3, 0, 3, 0]),
        learned=torch.tensor([True, True, False, True, True]),
    )
    picked = Forgetting(ProxyOptions()).pick(signals, 5, DRAW)
    assert picked.tolist() == [2, 1, 3, 0, 4]  # ties to the lower index


def test_herding_follows_the_mean():
    features = torch.tensor([[0.0], [1.0], [2.0], [9.0]])  # mean 3
    signals = ClassSignals(size=4, features=features)
    assert Herding(ProxyOptions()).pick(signals, 1, DRAW).tolist() == [2]


def test_k_center_starts_at_the_centre_and_goes_far():
    features = torch.tensor([[0.0], [5.0], [6.0], [10.0]])  # mean 5.25
    signals = ClassSignals(size=4, features=features)
    assert KCenter(ProxyOptions()).pick(signals, 3, DRAW).tolist() == [1, 0, 3]


@pytest.mark.parametrize("rule", [Herding, KCenter, Forgetting])
def test_a_smaller_coreset_is_a_prefix_of_a_larger_one(rule, tmp_path):
    source = blobs()
    method = rule(ProxyOptions(proxy_epochs=3, proxy_min_steps=0))
    by_size = {}
    for per_class in (2, 5):
        ctx = context(source, tmp_path, per_class=per_class)
        state = method.init(ctx)
        for number in range(method.total_steps(ctx)):
            method.step(state, number, ctx)
        by_size[per_class] = state.picked.view(-1, per_class)
    assert torch.equal(by_size[5][:, :2], by_size[2])
