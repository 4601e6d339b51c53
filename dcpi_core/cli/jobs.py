"""``dcpi jobs``: what a service has been asked for. Imports no torch."""

from datetime import UTC
from typing import Annotated

import typer
from rich.table import Table

from dcpi_core.cli import asking, screen
from dcpi_core.cli.remote import LOCAL, ApiKey, Server
from dcpi_core.client import Client
from dcpi_core.client.models import Job

Status = Annotated[
    str | None,
    typer.Option("--status", help="only these, e.g. queued,running", show_default=False),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100, help="at most so many")]


def jobs(
    status: Status = None,
    limit: Limit = 20,
    server: Server = LOCAL,
    api_key: ApiKey = None,
    as_json: asking.AsJson = False,
) -> None:
    """List your jobs at a service, newest first."""
    filters = {} if status is None else {"status": status}
    with Client(server, api_key=api_key) as client:
        page = client.jobs.list(limit=limit, **filters)
    if as_json:
        screen.print_json([job.model_dump(mode="json") for job in page.data])
        return
    screen.out().print(_table(page.data))
    if page.has_more:
        screen.err().print(f"and older ones; see more with --limit, now {limit}", markup=False)


def _table(found: tuple[Job, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("job", "status", "method", "dataset", "created (UTC)"):
        table.add_column(name, no_wrap=name == "job")
    for job in found:
        table.add_row(job.id, job.status, _method(job), job.dataset, _created(job))
    return table


def _method(job: Job) -> str:
    parts = " + ".join([job.base_method, *(name for name in job.pi_type if name != "none")])
    return f"verify: {parts}" if job.kind == "verify" else parts


def _created(job: Job) -> str:
    return "" if job.created_at is None else f"{job.created_at.astimezone(UTC):%Y-%m-%d %H:%M}"
