import torch

from tests.core.operations import Counter


def test_the_operations_of_a_plain_network_are_counted():
    """The ruler itself: a product of matrices is two operations per pair of entries."""
    with Counter() as counter:
        torch.ones(3, 5) @ torch.ones(5, 7)
    assert counter.total == 2 * 3 * 5 * 7
