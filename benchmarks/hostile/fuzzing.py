"""Damaged archives and bombs through the child that reads uploads, one process each."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from queue import Queue
from typing import Any

from tests.hostile import bombs
from tests.hostile.mutations import Mutant, mutants
from tests.hostile.outcome import FINDING, outcome
from tests.hostile.reader import Reader, Reading, open_reader

MEMORY_MB = 2048
"""What the service allows a child beyond what it has at its start."""
SECONDS = 120
REPORT_EVERY = 500
MILLION = 1_000_000

FULL_SIZE: dict[str, Callable[[], bytes]] = {
    "a million empty images in a zip": lambda: bombs.empty_files_in_a_zip(MILLION),
    "a million empty notes in a zip": lambda: bombs.empty_notes_in_a_zip(MILLION),
    "a million empty notes in a tar.gz": lambda: bombs.empty_notes_in_a_tar_gz(MILLION),
    "42.zip": bombs.forty_two,
    "xz with a dictionary of 4 GB": bombs.xz_with_a_dictionary_of_4_gigabytes,
}


def fuzz(count: int, seed: int, children: int, minutes: float) -> dict[str, Any]:
    """Read so many mutants, or as many as time allows; every finding in full."""
    end = time.monotonic() + minutes * 60
    by_outcome: Counter[str] = Counter()
    by_change: dict[str, Counter[str]] = {}
    findings, peaks, seconds = [], [0.0], [0.0]
    found = _read_all(islice(mutants(seed), count), children)
    for number, (mutant, word, reading) in enumerate(found, 1):
        by_outcome[word] += 1
        by_change.setdefault(f"{mutant.change}, {mutant.where}", Counter())[word] += 1
        peaks.append(reading.peak_mb)
        seconds.append(reading.seconds)
        if word == FINDING:
            findings.append({"number": number, "kind": mutant.kind, **vars(reading)})
        if number % REPORT_EVERY == 0:
            print(f"{number} archives: {dict(by_outcome)}", flush=True)
        if time.monotonic() > end:
            break
    return {
        "archives_wanted": count,
        "archives": by_outcome.total(),
        "by_outcome": by_outcome,
        "by_change": dict(sorted(by_change.items())),
        "findings": findings,
        "files_outside": sum(len(finding["strays"]) for finding in findings),
        "largest_child_mb": max(peaks),
        "slowest_seconds": max(seconds),
    }


def _read_all(found: Iterable[Mutant], children: int) -> Iterator[tuple[Mutant, str, Reading]]:
    """The outcomes in the order of the mutants, so many of them being read at a time."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        idle: Queue[tuple[Reader, Path]] = Queue()
        for number in range(children):
            idle.put((stack.enter_context(open_reader()), folder / str(number)))
        pool = stack.enter_context(ThreadPoolExecutor(children))

        def read(mutant: Mutant) -> tuple[Mutant, str, Reading]:
            reader, own = idle.get()
            own.mkdir(exist_ok=True)
            (own / "archive").write_bytes(mutant.data)
            reading = reader.read(own / "archive", own / "work", f"--max-seconds={SECONDS}")
            word = outcome(reading, own / "work" / "out", MEMORY_MB)
            idle.put((reader, own))
            return mutant, word, reading

        # In batches: Executor.map would make all the archives before the first is read.
        while batch := list(islice(found, 100)):
            yield from pool.map(read, batch)


def full_size() -> dict[str, Any]:
    """The bombs that are too long for a test suite."""
    results = {}
    with tempfile.TemporaryDirectory() as folder, open_reader() as reader:
        for name, build in FULL_SIZE.items():
            archive, work = Path(folder, "archive"), Path(folder, "work")
            archive.write_bytes(build())
            reading = reader.read(archive, work, f"--max-seconds={SECONDS}")
            results[name] = {
                "archive_bytes": archive.stat().st_size,
                "outcome": outcome(reading, work / "out", MEMORY_MB),
                "answer": reading.refusal,
                "child_mb": reading.peak_mb,
                "seconds": reading.seconds,
            }
            print(f"{name}: {results[name]}", flush=True)
    return {"cases": results}
