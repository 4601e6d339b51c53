"""Webhook endpoints: where the service posts what becomes of jobs, and what became of its posts."""

from collections.abc import Iterator, Sequence
from typing import Any

from dcpi_core.client.models import WebhookDelivery, WebhookEndpoint
from dcpi_core.client.resources import Collection
from dcpi_core.client.transport import Transport, json_of, parse


class WebhookEndpoints(Collection[WebhookEndpoint]):
    """Addresses that are told of jobs, with messages signed as Standard Webhooks.

    What makes a secret or a message is sent once and never repeated by itself: if the answer is
    lost, look at what there is before trying again.
    """

    def create(self, url: str, events: Sequence[str] = ()) -> WebhookEndpoint:
        """Have events posted to ``url``, all of them or those named, such as ``job.succeeded``.

        The answer holds the ``secret`` that signs the messages; it is not shown again.

        Raises:
            InvalidInput: the address or an event is refused; ``problems`` name the field.
        """
        answer = self._post(self._path, {"url": url, "events": list(events)})
        return parse(WebhookEndpoint, answer)

    def rotate(self, endpoint_id: str) -> WebhookEndpoint:
        """Replace the secret; for a day messages carry a signature by the old one as well."""
        return parse(WebhookEndpoint, self._post(self._at(endpoint_id, "rotate")))

    def deliveries(self, endpoint_id: str) -> Iterator[WebhookDelivery]:
        """Messages of the last month, newest first, with what became of each."""
        path = self._at(endpoint_id, "deliveries")
        return Collection(self._transport, path, WebhookDelivery).each()

    def redeliver(self, endpoint_id: str, delivery_id: str) -> WebhookDelivery:
        """Send a message once more, under its old id; this enables a disabled endpoint."""
        path = self._at(endpoint_id, "deliveries", delivery_id, "redeliver")
        return parse(WebhookDelivery, self._post(path))

    def _post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        once = Transport(self._transport.http, retries=0)
        return json_of(once.send(lambda: once.http.build_request("POST", path, json=body)))
