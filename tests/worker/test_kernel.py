"""The kernel's own count of processes killed for want of memory."""

from worker.kernel import out_of_memory_kills


def test_the_counter_is_found_among_the_others(tmp_path):
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 12\noom_kill 3\nunevictable_pgs_culled 0\n")
    assert out_of_memory_kills(vmstat) == 3


def test_a_kernel_that_does_not_count_says_nothing(tmp_path):
    vmstat = tmp_path / "vmstat"
    assert out_of_memory_kills(vmstat) is None
    vmstat.write_text("nr_free_pages 12\n")
    assert out_of_memory_kills(vmstat) is None
