"""The students of a report: trained side by side, and those measured before only looked up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dcpi_core.compute import Runtime
from dcpi_core.condensed import CondensedSet
from dcpi_core.datasets.base import ImageDataset
from dcpi_core.evaluation.arms import ArmPlan
from dcpi_core.evaluation.measure import Measurement, Trial, measure
from dcpi_core.evaluation.remembered import Measurements, key_of
from dcpi_core.training import OnStep


@dataclass(frozen=True)
class Student:
    """A network to be trained on the training set of an arm; ``repeat`` counts its seeds."""

    arm: ArmPlan
    network: str
    repeat: int
    seed: int

    @property
    def trial(self) -> Trial:
        return Trial(self.network, self.arm.recipe, self.seed)


class Measured(NamedTuple):
    """A student's measurement, and whether it had been made before."""

    student: Student
    measurement: Measurement
    before: bool


class _Candidate(NamedTuple):
    """A student, and its measurement if one is known.

    ``condensed`` is what it is yet to train on. None: nothing, or all images of the source, which
    are yet to be made.
    """

    student: Student
    condensed: CondensedSet | None
    key: str
    known: Measurement | None


@dataclass(frozen=True)
class Classroom:
    """Where students are measured.

    Attributes:
        known: measurements of earlier jobs; new ones are added.
        test_every: test each student also after every so many epochs; 0: at its end alone.
        on_step: called after each optimiser step of each student.
    """

    source: ImageDataset
    runtime: Runtime
    known: Measurements
    test_every: int = 0
    on_step: OnStep | None = None

    def measure_first(self, students: Sequence[Student]) -> list[Measured]:
        """The first students of these: as many new ones as have a thread, and all before them."""
        group = self._first(students)
        new = [candidate for candidate in group if candidate.known is None]
        found = iter(self.runtime.map_alike(self._measure, list(zip(new, _sets(new), strict=True))))
        return [
            Measured(student, next(found), before=False)
            if known is None
            else Measured(student, known, before=True)
            for student, _, _, known in group
        ]

    def _first(self, students: Sequence[Student]) -> list[_Candidate]:
        group: list[_Candidate] = []
        places = self.runtime.side_by_side
        for student in students:
            group.append(self._candidate(student))
            places -= group[-1].known is None
            if places == 0:
                break
        return group

    def _candidate(self, student: Student) -> _Candidate:
        arm = student.arm
        condensed = None if arm.all_images else arm.training_set(student.repeat)
        device = self.runtime.device.type
        key = key_of(student.trial, condensed, self.source, device, self.test_every)
        known = self.known.find(key)
        # Known ones can be many, each with a set of its own: none of these is kept.
        return _Candidate(student, condensed if known is None else None, key, known)

    def _measure(self, unit: tuple[_Candidate, CondensedSet]) -> Measurement:
        new, condensed = unit
        found = measure(
            new.student.trial,
            condensed,
            self.source,
            self.runtime,
            self.on_step,
            self.test_every,
        )
        self.known.keep(new.key, found)
        return found


def _sets(new: Sequence[_Candidate]) -> Iterator[CondensedSet]:
    """What each trains on. All images of the source are there once, for all who train on them."""
    everything: CondensedSet | None = None
    for student, condensed, *_ in new:
        if condensed is None:
            if everything is None:
                everything = student.arm.training_set(student.repeat)
            condensed = everything
        yield condensed
