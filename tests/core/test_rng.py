from concurrent.futures import ThreadPoolExecutor

import torch
from hypothesis import given
from hypothesis import strategies as st

from dcpi_core.rng import Streams


@given(seed=st.integers(0, 2**31 - 1), purpose=st.text(max_size=8), position=st.integers(0, 10**9))
def test_a_draw_depends_only_on_seed_purpose_and_position(seed, purpose, position):
    again = torch.rand(3, generator=Streams(seed).generator(purpose, position))
    torch.rand(7, generator=Streams(seed).generator("something else"))
    assert torch.equal(again, torch.rand(3, generator=Streams(seed).generator(purpose, position)))


def test_purposes_positions_and_seeds_are_independent():
    draws = {
        float(torch.rand((), generator=Streams(seed).generator(purpose, position)))
        for seed in range(4)
        for purpose in ("a", "b")
        for position in range(4)
    }
    assert len(draws) == 32


def test_positions_are_not_confused():
    streams = Streams(0)
    assert streams.integer("x", 1, 23) != streams.integer("x", 12, 3)


def test_initialisation_leaves_the_global_stream_alone():
    before = torch.get_rng_state()
    with Streams(5).initialisation("network", 1):
        first = torch.nn.Linear(3, 3).weight.detach().clone()
    assert torch.equal(torch.get_rng_state(), before)
    with Streams(5).initialisation("network", 1):
        assert torch.equal(torch.nn.Linear(3, 3).weight, first)


def test_threads_take_turns_with_the_global_generator():
    def draw(position):
        with Streams(1).initialisation("network", position):
            return [torch.rand(50) for _ in range(20)]

    alone = [draw(position) for position in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(draw, range(8)))
    assert torch.equal(
        torch.cat(list(map(torch.cat, alone))), torch.cat(list(map(torch.cat, together)))
    )
