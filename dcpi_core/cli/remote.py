"""``dcpi submit``, ``dcpi watch`` and ``dcpi pull``: talk to a service. Imports no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dcpi_core.cli import asking, screen, sources, uploading, verdicts
from dcpi_core.cli.interrupts import INTERRUPTED
from dcpi_core.cli.outputs import require_new
from dcpi_core.cli.table import accuracy_table, rows_of
from dcpi_core.client import Client
from dcpi_core.client.models import Job
from dcpi_core.spec.errors import DcpiError, NotFound
from dcpi_core.spec.job import JobSubmission
from dcpi_core.spec.resolve import resolve

MANY_AHEAD = 1000  # the service counts no further

JobId = Annotated[str, typer.Argument(metavar="JOB", help="the job's id")]

Server = Annotated[
    str, typer.Option("--server", envvar="DCPI_SERVER", help="address of the service")
]
ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", envvar="DCPI_API_KEY", help="bearer token", show_default=False),
]
OutDirectory = Annotated[
    Path | None,
    typer.Option(
        "--out", help="download the bundle to here; a new or empty directory", show_default=False
    ),
]
LOCAL = "http://127.0.0.1:8000"


def submit(
    spec: asking.SpecFile = None,
    dataset: asking.DatasetName = None,
    fraction: asking.FractionText = None,
    images_per_class: asking.PerClass = None,
    method: asking.MethodName = None,
    pi: asking.PiNames = None,
    network: asking.NetworkName = None,
    seed: asking.SeedNumber = None,
    settings: asking.Settings = None,
    archive: asking.ArchiveFile = None,
    image_size: asking.ImageSize = None,
    deadline: Annotated[
        int | None,
        typer.Option("--deadline", help="seconds until the job expires", show_default=False),
    ] = None,
    priority: Annotated[
        str | None,
        typer.Option("--priority", help="low, normal or high, among your own", show_default=False),
    ] = None,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="even if an equal job was computed before")
    ] = False,
    cache: asking.Cache = asking.CACHE,
    server: Server = LOCAL,
    api_key: ApiKey = None,
    out: OutDirectory = None,
    detach: Annotated[bool, typer.Option("--detach", help="print the job's id and leave")] = False,
    as_json: asking.AsJson = False,
) -> None:
    """Send a job to a service, watch it, and fetch what it made.

    An archive is read here first, so that what is wrong with it or with the job is told before it
    is uploaded; one that the service has already is not uploaded again.

    Ctrl-C leaves the job running. The exit status is 1 if the job did not succeed.
    """
    asked = asking.Asked(
        spec, dataset, fraction, images_per_class, method, pi, network, seed, settings
    )
    treatment = {
        "deadline_seconds": deadline,
        "priority": priority,
        "cache": "ignore" if recompute else None,
    }
    if out is not None:
        require_new(out)
    with Client(server, api_key=api_key) as client:
        origin = sources.Origin(archive, image_size, cache=cache)
        job = client.jobs.create(_submission(client, asked, origin, treatment, as_json))
        if detach:
            _print_job(job, as_json)
            return
        _see_through(client, job, out, as_json)


def _submission(
    client: Client,
    asked: asking.Asked,
    origin: sources.Origin,
    treatment: Mapping[str, Any],
    quiet: bool,
) -> JobSubmission:
    """The job, after the upload of its archive if it has one."""
    if origin.archive is None:
        return asking.read_submission(asked, treatment=treatment)
    name = asked.dataset or sources.name_of(origin.archive)
    asking.read_submission(asked, name, treatment)  # refuses at once
    prepared = sources.prepare(origin, asked.dataset, quiet=quiet)
    assert prepared is not None
    facts = prepared.facts
    resolve(asking.read_submission(asked, facts.name, treatment), facts)
    dataset = uploading.uploaded(client, origin.archive, facts, origin.image_size)
    return asking.read_submission(asked, dataset, treatment)


def watch(
    job: JobId,
    server: Server = LOCAL,
    api_key: ApiKey = None,
    out: OutDirectory = None,
    as_json: asking.AsJson = False,
) -> None:
    """Watch a job that was sent before, and fetch what it made.

    Ctrl-C leaves the job running. The exit status is 1 if the job did not succeed, or if it is a
    verification that did not pass.
    """
    with Client(server, api_key=api_key) as client:
        found = client.jobs.get(job)
        if out is not None and not found.finished:  # so nothing of it was downloaded before
            require_new(out)
        _see_through(client, found, out, as_json)


def pull(
    item: Annotated[str, typer.Argument(metavar="ID", help="a condensed dataset, or its job")],
    out: Annotated[
        Path | None, typer.Option("--out", help="default: a directory named like the id")
    ] = None,
    server: Server = LOCAL,
    api_key: ApiKey = None,
) -> None:
    """Download a bundle; the same command continues an interrupted download."""
    with Client(server, api_key=api_key) as client:
        condensed = item
        if item.startswith("job_"):
            condensed = _condensed_id(client.jobs.get(item))
        target = out or Path(condensed)
        _download(client, condensed, target, quiet=False)
    screen.out().print(f"bundle: {target}", markup=False)


def follow(client: Client, job: Job, *, quiet: bool) -> Job:
    """Show a job until its end.

    Ctrl-C leaves it running, as does a service that stays away; then it is said how to return.
    """
    later = f"job {job.id} goes on; watch it again with: dcpi watch {job.id}"
    if not (quiet or job.finished):
        # At once: a job may wait for hours, and without its id nobody finds it again.
        screen.err().print(f"{_place_of(job)} (dcpi watch {job.id})", markup=False)
    try:
        with screen.PhaseBars(quiet=quiet) as bars:

            def show(now: Job) -> None:
                progress = now.progress
                phase = now.phase or (progress.phase if progress else None)
                if progress is not None and phase is not None:
                    bars.show(phase, progress.step, progress.total_steps, progress.message)

            return client.jobs.wait(job.id, on_change=show)
    except KeyboardInterrupt:
        screen.err().print(later, markup=False)
        raise typer.Exit(INTERRUPTED) from None
    except NotFound:  # it was deleted
        raise
    except DcpiError as error:
        error.add_note(later)
        raise


def _place_of(job: Job) -> str:
    ahead = ""
    if job.queue_ahead is not None:
        more = " or more" if job.queue_ahead >= MANY_AHEAD else ""
        ahead = f", {job.queue_ahead}{more} ahead"
    return f"job {job.id} {job.status}{ahead}"


def _see_through(client: Client, job: Job, out: Path | None, as_json: bool) -> None:
    job = follow(client, job, quiet=as_json)
    if job.status != "succeeded":
        tell_why(job)
        if as_json:
            _print_job(job, as_json)
        raise typer.Exit(1)
    if job.kind == "verify":
        _tell_verdict(client, job, as_json)
        return
    condensed = _condensed_id(job)
    if out is not None:
        _download(client, condensed, out, quiet=as_json)
    if as_json:
        _print_job(job, as_json)
        return
    console = screen.out()
    console.print(accuracy_table(rows_of(client.condensed.report(condensed)), condensed))
    console.print(
        f"bundle: {out}" if out else f"fetch it with: dcpi pull {condensed}", markup=False
    )


def _tell_verdict(client: Client, job: Job, as_json: bool) -> None:
    """Show what a verification found; there is no bundle of its own to fetch."""
    condensed = job.urls["condensed"].rpartition("/")[2]
    made = client.condensed.verifications(condensed).each()
    found = next((one for one in made if one.job_id == job.id), None)
    if found is None:
        screen.err().print(f"error: the verification of job {job.id} was deleted", markup=False)
        raise typer.Exit(1)
    if as_json:
        screen.print_json(found.model_dump(mode="json"))
    elif found.record is not None:
        verdicts.show(found.record)
        where = f"{client.base_url}{job.urls['verifications']}/{found.id}"
        screen.out().print(f"record: {where}", markup=False)
    if found.outcome != "passed":
        raise typer.Exit(1)


def tell_why(job: Job) -> None:
    """Say on standard error how a job ended that did not succeed, and why."""
    reason = f": {job.error.detail or job.error.code}" if job.error else ""
    screen.err().print(f"error: job {job.id} {job.status}{reason}", style="red", markup=False)


def _download(client: Client, condensed: str, out: Path, *, quiet: bool) -> None:
    with screen.PhaseBars(quiet=quiet) as bars:

        def show(path: str, done: int, total: int) -> None:
            bars.show("download", done, total, path)

        client.condensed.download(condensed, out, show)


def _condensed_id(job: Job) -> str:
    if job.result is None:
        screen.err().print(f"error: job {job.id} is {job.status} and has no result", markup=False)
        raise typer.Exit(1)
    return job.result.condensed_id


def _print_job(job: Job, as_json: bool) -> None:
    if as_json:
        screen.print_json(job.model_dump(mode="json"))
    else:
        screen.out().print(job.id, markup=False)
