import threading

import pytest
import torch

from dcpi_core.compute import CPU_MICRO_BATCH, Runtime
from dcpi_core.spec.errors import InvalidInput


@pytest.fixture
def runtime():
    return Runtime.choose("cpu", threads=2)


@pytest.mark.parametrize(
    ("name", "allowed"), [("gpu", "auto, cpu, cuda"), ("cuda:999", "on this machine"), ("", "auto")]
)
def test_a_device_that_is_not_there_is_refused_in_words(name, allowed):
    with pytest.raises(InvalidInput, match=allowed):
        Runtime.choose(name)


@pytest.mark.parametrize(
    ("count", "pieces"), [(0, 0), (1, 1), (32, 1), (33, 2), (100, 4), (256, 8)]
)
def test_chunks_cover_everything_once_in_few_and_equal_pieces(runtime, count, pieces):
    covered = [i for piece in runtime.chunks(count) for i in range(piece.start, piece.stop)]
    assert covered == list(range(count))
    sizes = [piece.stop - piece.start for piece in runtime.chunks(count)]
    assert len(sizes) == pieces
    assert max(sizes, default=0) <= CPU_MICRO_BATCH
    assert max(sizes, default=0) - min(sizes, default=0) <= 1


def test_without_a_limit_there_is_one_piece():
    runtime = Runtime(torch.device("cpu"), 1, None)
    assert [list(runtime.chunks(count)) for count in (0, 7)] == [[], [slice(0, 7)]]


def test_a_whole_set_has_a_limit_everywhere():
    unlimited, limited = Runtime(torch.device("cpu"), 1, None), Runtime(torch.device("cpu"), 1, 32)
    sizes = [piece.stop - piece.start for piece in unlimited.for_whole_sets.chunks(2100)]
    assert sizes == [700, 700, 700]
    assert limited.for_whole_sets == limited


def test_map_keeps_order_and_runs_side_by_side(runtime):
    both_here = threading.Barrier(2, timeout=10)

    def meet(item):
        both_here.wait()  # passes only if two items are at work at once
        return item * 10

    assert runtime.map(meet, range(4)) == [0, 10, 20, 30]


def test_map_gives_each_piece_one_thread_and_restores_the_rest(runtime):
    assert runtime.map(lambda _: torch.get_num_threads(), range(2)) == [1, 1]
    assert torch.get_num_threads() == 2


def test_what_is_alone_is_computed_as_in_company_but_may_divide_itself(runtime):
    def threads_and_places(_):
        here = threading.get_ident()
        return torch.get_num_threads(), set(runtime.map(lambda _: threading.get_ident(), "ab")) - {
            here
        }

    ((threads, elsewhere),) = runtime.map_alike(threads_and_places, range(1))
    assert threads == 1
    assert elsewhere
    assert runtime.map_alike(threads_and_places, range(2)) == [(1, set())] * 2
    assert torch.get_num_threads() == 2


def test_map_passes_errors_on(runtime):
    def fail(item):
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        runtime.map(fail, range(2))
    assert torch.get_num_threads() == 2


def test_a_job_that_ran_out_of_memory_gets_smaller_pieces(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    sizes = [Runtime.choose("cpu", shrink=shrink).micro_batch for shrink in range(4)]
    assert sizes == [32, 8, 2, 1]
    assert [Runtime.choose("cuda", shrink=shrink).micro_batch for shrink in range(3)] == [
        None,
        64,
        16,
    ]


def test_graphs_of_few_images_are_in_memory_at_once_where_memory_is_little():
    kept = [Runtime(torch.device("cpu"), 1, batch).graph_images for batch in (None, 32, 8, 1)]
    assert kept == [2048, 256, 64, 8]
