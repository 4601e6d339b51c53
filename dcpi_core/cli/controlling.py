"""``dcpi cancel``, ``pause``, ``resume``, ``retry``: what may be done with a job of a service."""

from dcpi_core.cli import screen
from dcpi_core.cli.remote import LOCAL, ApiKey, JobId, Server
from dcpi_core.client import Client
from dcpi_core.client.models import Job


def cancel(job: JobId, server: Server = LOCAL, api_key: ApiKey = None) -> None:
    """End a job; one that has ended stays as it is."""
    with Client(server, api_key=api_key) as client:
        _say(client.jobs.cancel(job))


def pause(job: JobId, server: Server = LOCAL, api_key: ApiKey = None) -> None:
    """Stop a job for now; its work is kept in a checkpoint."""
    with Client(server, api_key=api_key) as client:
        _say(client.jobs.pause(job))


def resume(job: JobId, server: Server = LOCAL, api_key: ApiKey = None) -> None:
    """Go on with a paused job."""
    with Client(server, api_key=api_key) as client:
        _say(client.jobs.resume(job))


def retry(job: JobId, server: Server = LOCAL, api_key: ApiKey = None) -> None:
    """Try a job again that failed, crashed, expired or was cancelled."""
    with Client(server, api_key=api_key) as client:
        found = client.jobs.retry(job)
        _say(found, f", starting from its {found.starts_from}" if found.starts_from else "")


def _say(job: Job, more: str = "") -> None:
    screen.out().print(f"{job.id} is {job.status}{more}", markup=False)
