"""Random streams: every draw is a pure function of the seed, a purpose and a position.

A generator is made afresh for each (purpose, position), e.g. ``generator("real_batch", step,
label)``. Nothing about randomness therefore needs to be saved: any step can be replayed, adding a
draw for one purpose shifts no other, and a resumed run is bit-identical to an uninterrupted one.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_global_generator = threading.RLock()


class Streams:
    """The random streams of one job, all derived from its seed.

    Draws are made on the CPU, so that a CPU and a GPU run pick the same samples.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def integer(self, purpose: str, *position: int | str) -> int:
        """A 63-bit integer that identifies (seed, purpose, position)."""
        text = "/".join([str(self.seed), purpose, *map(str, position)])
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    def generator(self, purpose: str, *position: int | str) -> torch.Generator:
        """A fresh CPU generator for this purpose and position."""
        return torch.Generator().manual_seed(self.integer(purpose, *position))

    def child(self, purpose: str, *position: int | str) -> "Streams":
        """Streams of a sub-task, independent of all others."""
        return Streams(self.integer(purpose, *position))

    @contextmanager
    def initialisation(self, purpose: str, *position: int | str) -> Iterator[None]:
        """Seed torch's global generator inside the block and restore it afterwards.

        Layer constructors accept no generator; this is the only place where global state is used.
        Threads take turns.
        """
        with _global_generator, torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.integer(purpose, *position))
            yield
