"""One small job through the REST API, from its submission to the downloaded bundle."""

from pathlib import Path
from typing import Any

from dcpi_core.cli.screen import PhaseBars, err, out, print_error
from dcpi_core.cli.table import accuracy_table, rows_of
from dcpi_core.client import Client
from dcpi_core.client.models import Job
from dcpi_core.spec.errors import DcpiError
from dcpi_core.spec.report import Report
from worker.demo_place import replace, require_replaceable

REQUEST: dict[str, Any] = {
    "cache": "ignore",  # a demonstration that shows an old result shows nothing
    "dataset": "digits",
    "fraction": "0.7%",
    "base_method": "dc",
    "pi_type": "feature",
    "name": "demo",
    "options": {
        "base": {"iterations": 50},
        "pi": {"feature": {"teacher_min_steps": 300}},
        "evaluation": {"repeats": 3},
    },
}
MADE = (REQUEST["dataset"], REQUEST["base_method"], REQUEST["pi_type"])


def run(address: str, target: Path) -> bool:
    """Show the job and its result; true if the bundle beats random images.

    The bundle takes the place of an earlier demo's in ``target``. What goes wrong is told and does
    not end the service that runs the demo.
    """
    try:
        require_replaceable(target, MADE)
        with Client(address) as client:
            return _show_one(client, address, target)
    except DcpiError as error:
        print_error(error)
        return False


def _show_one(client: Client, address: str, target: Path) -> bool:
    job = client.jobs.create(REQUEST)
    facts = job.model_dump()
    out().print(
        f"job {job.id}: {facts['num_images']} images "
        f"({100 * facts['effective_fraction']:.2g} %) of digits, by dc, with feature labels",
        markup=False,
    )
    job = _watch(client, job)
    if job.result is None:
        reason = job.error.detail if job.error else "no reason given"
        err().print(f"error: the job {job.status}: {reason}", style="red", markup=False)
        return False
    condensed = job.result.condensed_id
    replace(target, MADE, lambda fresh: client.condensed.download(condensed, fresh))
    report = client.condensed.report(condensed)
    _show(report, condensed, target, address)
    return beats_random(report)


def beats_random(report: Report) -> bool:
    """Whether students of the bundle are better than those of random images, on average."""
    return report.arm("privileged").mean > report.arm("random").mean


def _watch(client: Client, job: Job) -> Job:
    with PhaseBars() as bars:

        def show(now: Job) -> None:
            progress = now.progress
            if progress is not None and progress.phase is not None:
                bars.show(progress.phase, progress.step, progress.total_steps, progress.message)

        return client.jobs.wait(job.id, on_change=show)


def _show(report: Report, condensed: str, target: Path, address: str) -> None:
    console = out()
    console.print(accuracy_table(rows_of(report), f"accuracy of students trained on {condensed}"))
    console.print(f"bundle:   {target}", markup=False)
    console.print(f"pictures: {target / 'previews' / 'grid.png'}", markup=False)
    console.print(f"over HTTP: {address}/v1/condensed/{condensed}", markup=False)
