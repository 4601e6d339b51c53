"""What must hold once a campaign is over. Each function returns the violations, one line each."""

from collections import Counter
from dataclasses import dataclass

from app.condensed.registration import object_key
from app.jobs.states import TERMINAL

CONDENSED, CHECKPOINTS = "condensed/", "checkpoints/"


@dataclass(frozen=True)
class JobRecord:
    """A job as the database has it afterwards.

    Attributes:
        number: which of the campaign's jobs it was.
        told: the states its events tell of, in order.
        results: condensed datasets that name this job.
        successes: attempts that ended in success.
    """

    id: str
    number: int
    status: str
    told: tuple[str, ...]
    results: tuple[str, ...]
    successes: int


@dataclass(frozen=True)
class Bundle:
    """A result as it was downloaded: the checks that it failed, and the digest of what it holds."""

    job_number: int
    failed_checks: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class Evidence:
    """Everything that the invariants look at.

    Attributes:
        accepted: id of the job by number, as the API answered when it took it.
        files: paths of the files of each condensed dataset, by its id.
        objects: every key in the storage.
        expected: digest of each job's result without faults, by number.
    """

    accepted: dict[int, str]
    jobs: tuple[JobRecord, ...]
    bundles: tuple[Bundle, ...]
    files: dict[str, tuple[str, ...]]
    objects: tuple[str, ...]
    expected: dict[int, str]


def one_terminal_state(evidence: Evidence) -> list[str]:
    """Every accepted job is there, has ended, and was told to have ended once, at the end."""
    known = {job.id: job for job in evidence.jobs}
    accepted = Counter(evidence.accepted.values())
    found = [f"{job}: accepted, and gone" for job in accepted if job not in known]
    found += [f"{job}: accepted as {count} jobs" for job, count in accepted.items() if count > 1]
    found += [f"{job}: nobody was told of it" for job in known if job not in accepted]
    for job in evidence.jobs:
        ends = [status for status in job.told if status in TERMINAL]
        if job.status not in TERMINAL:
            found.append(f"{job.id}: still {job.status}")
        elif ends != [job.status] or job.told[-1] != job.status:
            found.append(f"{job.id}: {job.status}, but told {', '.join(job.told)}")
    return found


def one_success(evidence: Evidence) -> list[str]:
    """Every job has succeeded, once, and has one result."""
    return [
        f"{job.id}: {job.status}, {job.successes} successes, {len(job.results)} results"
        for job in evidence.jobs
        if (job.status, job.successes, len(job.results)) != ("succeeded", 1, 1)
    ]


def bundles_verify(evidence: Evidence) -> list[str]:
    """Every success has a bundle, and it passes every check of its format."""
    downloaded = {bundle.job_number for bundle in evidence.bundles}
    found = [
        f"{job.id}: no bundle"
        for job in evidence.jobs
        if job.status == "succeeded" and job.number not in downloaded
    ]
    for bundle in evidence.bundles:
        found += [f"job {bundle.job_number}: {check}" for check in bundle.failed_checks]
    return found


def no_orphans(evidence: Evidence) -> list[str]:
    """Every object belongs to a result, or is the checkpoint of a job that may go on from it."""
    wanted = {object_key(key, path) for key, paths in evidence.files.items() for path in paths}
    resumable = {job.id for job in evidence.jobs if job.status != "succeeded"}
    found = [f"{key}: missing" for key in sorted(wanted - set(evidence.objects))]
    for key in evidence.objects:
        kept = key.startswith(CHECKPOINTS) and key.split("/")[1] in resumable
        if key not in wanted and not kept:
            found.append(f"{key}: nobody refers to it")
    return found


def same_bits(evidence: Evidence) -> list[str]:
    """Every result equals the one that the same spec gives without faults."""
    return [
        f"job {bundle.job_number}: {bundle.digest[:12]}, without faults {expected[:12]}"
        for bundle in evidence.bundles
        if bundle.digest != (expected := evidence.expected.get(bundle.job_number, "none"))
    ]


INVARIANTS = (one_terminal_state, one_success, bundles_verify, no_orphans, same_bits)


def violations(evidence: Evidence) -> dict[str, list[str]]:
    """Of every invariant, by its name."""
    return {check.__name__: check(evidence) for check in INVARIANTS}
