"""The client itself: one object per resource over one connection."""

import ipaddress
from types import TracebackType
from typing import Self

import httpx

from dcpi_core.client.models import Condensed, Dataset, Job, WebhookEndpoint
from dcpi_core.client.resources import Catalogue, CondensedDatasets, Datasets, Jobs
from dcpi_core.client.transport import Transport
from dcpi_core.client.webhooks import WebhookEndpoints
from dcpi_core.spec.errors import InvalidInput


class Client:
    """A synchronous client of the service at ``base_url``.

    Args:
        base_url: scheme, host and port, e.g. ``http://localhost:8000``.
        api_key: sent as a bearer token to this host only; blanks and line ends around it are not
            part of it.
        timeout: seconds to wait for an answer to begin or to go on.
        retries: further attempts after a failure that may pass.
        transport: replaces the network, for tests.

    Raises:
        InvalidInput: ``base_url`` is no http or https address, or ``api_key`` holds what no header
            can carry.

    A service on this machine is never asked through a proxy, whatever the environment says.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        retries: int = 2,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        url = _address(base_url)
        self._http = httpx.Client(
            base_url=url,
            headers=_credentials(api_key),
            timeout=timeout,
            transport=transport,
            mounts=_without_a_proxy(url.host),
        )
        carrier = Transport(self._http, retries)
        self.jobs = Jobs(carrier, "/v1/jobs", Job)
        self.datasets = Datasets(carrier, "/v1/datasets", Dataset)
        self.condensed = CondensedDatasets(carrier, "/v1/condensed", Condensed)
        self.webhooks = WebhookEndpoints(carrier, "/v1/webhook-endpoints", WebhookEndpoint)
        self.methods = Catalogue(carrier, "/v1/methods")
        self.privileged_types = Catalogue(carrier, "/v1/privileged-types")
        self.architectures = Catalogue(carrier, "/v1/architectures")

    @property
    def base_url(self) -> str:
        """The address of the service, to which paths such as those of ``urls`` are appended."""
        return str(self._http.base_url).rstrip("/")

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _address(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidInput(f"{base_url!r} is no address of a service; e.g. http://localhost:8000")
    return url


def _credentials(api_key: str | None) -> dict[str, str]:
    """The header for the key; what cannot be one is refused here, where no message quotes it."""
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InvalidInput(
            "the API key holds blanks, line ends or characters beyond ASCII, which no key does; "
            "was it copied whole and alone?"
        )
    return {"Authorization": f"Bearer {key}"} if key else {}


def _without_a_proxy(host: str) -> dict[str, None]:
    """Of all that the environment may say to httpx, this machine is spared the proxy alone."""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return {f"all://[{host}]" if ":" in host else f"all://{host}": None} if local else {}
