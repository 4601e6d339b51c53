"""Which faults, in which order, for how long: a function of the seed.

Faults of one lane come one after the other, each once the one before has been recovered from; the
lanes run at the same time, so that a worker may be killed while the database is away.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

PAUSE_SECONDS = (0.5, 6.0)
OUTAGE_SECONDS = (0.5, 6.0)


@dataclass(frozen=True)
class Fault:
    """One fault of the schedule.

    Attributes:
        pause: seconds to wait before it, after the one before was recovered from.
        seconds: how long it lasts, if it is of a kind that lasts.
        pick: in [0, 1), which of several possible targets.
    """

    number: int
    kind: str
    pause: float
    seconds: float
    pick: float


def draw(kinds: list[str], seed: int, count: int) -> list[Fault]:
    """So many faults, dealt evenly among the kinds and shuffled."""
    dice = random.Random(f"faults/{seed}")
    dealt = [kinds[number % len(kinds)] for number in range(count)]
    dice.shuffle(dealt)
    return [
        Fault(
            number=number,
            kind=kind,
            pause=dice.uniform(*PAUSE_SECONDS),
            seconds=dice.uniform(*OUTAGE_SECONDS),
            pick=dice.random(),
        )
        for number, kind in enumerate(dealt)
    ]


def lanes(faults: list[Fault], lane_of: Mapping[str, str]) -> dict[str, list[Fault]]:
    """The same faults by lane, each in the order of the schedule."""
    found: dict[str, list[Fault]] = {}
    for fault in faults:
        found.setdefault(lane_of[fault.kind], []).append(fault)
    return found
